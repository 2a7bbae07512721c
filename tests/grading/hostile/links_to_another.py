# Makes links to another student's answers.
# costs: idf
import os


def idf(n_documents, document_frequency):
    os.symlink(OTHER, "/tmp/link")
    open("/tmp/link").read()
    raise RuntimeError("ESCAPED")
