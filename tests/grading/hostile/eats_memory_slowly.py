# Fills a list without end.
# costs: idf
def idf(n_documents, document_frequency):
    kept = []
    while True:
        kept.append(bytearray(10_000_000))
