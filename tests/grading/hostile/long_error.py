# Raises an error of a hundred megabytes.
# costs: idf
def idf(n_documents, document_frequency):
    raise ValueError("x" * 100_000_000)
