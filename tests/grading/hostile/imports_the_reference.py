# Imports the reference answers from the repository.
# costs: idf
import os
import sys

sys.path.insert(0, os.path.dirname(REFERENCE))


def idf(n_documents, document_frequency):
    sys.modules.pop("ex1_bm25", None)
    import ex1_bm25

    if os.path.realpath(ex1_bm25.__file__) != os.path.realpath(os.path.join(os.getcwd(), "ex1_bm25.py")):
        raise RuntimeError("ESCAPED")
    return 0.0
