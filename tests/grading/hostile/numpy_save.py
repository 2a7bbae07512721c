# Writes outside by NumPy.
# costs: idf
import numpy


def idf(n_documents, document_frequency):
    numpy.zeros(3).tofile(CANARY)
    return 0.0
