# Returns a hundred megabytes.
# costs: idf
import numpy


def idf(n_documents, document_frequency):
    return numpy.zeros(12_000_000)
