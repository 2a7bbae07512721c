# Never ends.
# costs: idf time
def idf(n_documents, document_frequency):
    while True:
        pass
