# Patches os.path, then writes outside.
# costs: idf
import os

os.path.realpath = os.path.abspath = lambda path, **_: "/tmp"


def idf(n_documents, document_frequency):
    open(CANARY, "w").write("changed")
    return 0.0
