# Reads address 0.
# costs: idf
import ctypes


def idf(n_documents, document_frequency):
    return ctypes.string_at(0)
