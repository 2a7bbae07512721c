# Prints without end.
# costs: idf
def idf(n_documents, document_frequency):
    while True:
        print("x" * 10_000)
