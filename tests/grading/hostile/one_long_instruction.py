# Is busy in one instruction of C.
# costs: idf
def idf(n_documents, document_frequency):
    return 3 ** (10**10) % 7
