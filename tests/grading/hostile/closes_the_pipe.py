# Closes every open file.
# costs: idf
import os


def idf(n_documents, document_frequency):
    os.closerange(0, 200)
    return 0.0
