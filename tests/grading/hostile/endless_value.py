# Returns itself, and what never ends.
# costs: idf
import itertools


class Endless(list):
    def __iter__(self):
        return itertools.count()

    def __len__(self):
        return 3


def idf(n_documents, document_frequency):
    return Endless()
