# Writes a gigabyte past Python's streams.
# costs: idf
import os


def idf(n_documents, document_frequency):
    for _ in range(1000):
        os.write(1, bytes(1_000_000))
        os.write(2, bytes(1_000_000))
    return 0.0
