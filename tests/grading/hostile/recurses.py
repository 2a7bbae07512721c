# Calls itself without end, with a high limit.
# costs: idf
import sys

sys.setrecursionlimit(10**9)


def idf(n_documents, document_frequency):
    return idf(n_documents, document_frequency) + 1
