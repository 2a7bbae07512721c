# Sleeps.
# costs: idf time
import time


def idf(n_documents, document_frequency):
    time.sleep(10_000)
