"""Past one machine: the book's measurements on millions of pairs, with Ray Data.

MS MARCO's development set asks 6,980 queries of 1,000 candidates each. That is no job for a loop in one process. Ray, a
well-kept scheduler, spreads it over processes and hosts, starts again what was killed and shows the progress; this room only
says what is measured (`measurements`) and how a file of pairs is cut into parts (`parts`).

The numbers are those of the local functions: `CrossEncoder.score_pairs`, `mass_on_document` and `direct_effects_many`.
"""
