# Never ends, whatever is raised in it.
# costs: idf time
def idf(n_documents, document_frequency):
    while True:
        try:
            while True:
                sum(range(100))
        except BaseException:
            pass
