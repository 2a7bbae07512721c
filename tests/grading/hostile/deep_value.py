# Returns a list in a list in a list ....
# costs: idf
def idf(n_documents, document_frequency):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
