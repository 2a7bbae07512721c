# Asks for more memory than there is.
# costs: idf
import numpy


def idf(n_documents, document_frequency):
    return float(numpy.ones(3_000_000_000)[0])
