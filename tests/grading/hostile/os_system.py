# Starts a shell.
# costs: idf
import os
import sys


def idf(n_documents, document_frequency):
    if os.system(f"{sys.executable} -c pass") == 0:
        raise RuntimeError("ESCAPED")
    return 0.0
