# Raises SystemExit.
# costs: idf
def idf(n_documents, document_frequency):
    raise SystemExit("bye")
