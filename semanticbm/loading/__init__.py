"""Loading: what comes from outside, read with suspicion.

`texts` reads the files of a collection, `checkpoints` the weights and tokenizer of a model. Both follow one rule. What is
certainly wrong (a file that is cut off, an id that stands twice, weights that do not belong to their configuration) is a
`UserError` in one line that names the file and the place. What real collections contain (an empty document, a judgement of
a document that is not there) is counted, reported in one line, and left out. Nothing is guessed in silence.

This room stands below the library: it knows files, and nothing of queries, heads or scores.
"""
