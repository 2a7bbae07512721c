"""The study: the paper reproduced with a clean protocol, on any model of the ladder and any collection.

`claims.toml` states each claim with its control and its verdict rule, before the run; `claims` applies the rules;
`experiments` holds what is measured, in the order of the book; `reproduce` runs, stores and resumes, and writes the report;
`results` reads stored runs back for the chapters. `paper_data` and `paper_model` know the paper's own texts and its authors'
numbers; `recovery` asks whether the methods find a circuit that was planted. Everything here calls the library and adds no
method of its own.
"""
