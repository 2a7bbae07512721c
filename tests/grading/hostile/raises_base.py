# Raises what only an interpreter raises.
# costs: idf
class Odd(BaseException):
    pass


def idf(n_documents, document_frequency):
    raise Odd
