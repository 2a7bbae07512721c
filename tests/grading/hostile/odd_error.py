# Raises an error that cannot be told.
# costs: idf
class Odd(Exception):
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def idf(n_documents, document_frequency):
    raise Odd
