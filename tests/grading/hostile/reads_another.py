# Reads another student's answers.
# costs: idf
def idf(n_documents, document_frequency):
    open(OTHER).read()
    raise RuntimeError("ESCAPED")
