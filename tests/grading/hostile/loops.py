# Never ends.
# costs: idf
def idf(n_documents, document_frequency):
    while True:
        pass
