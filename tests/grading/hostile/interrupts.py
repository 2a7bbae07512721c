# Raises KeyboardInterrupt.
# costs: idf
def idf(n_documents, document_frequency):
    raise KeyboardInterrupt
