# Leaves a busy thread behind, which prints.
# costs: idf
import threading


def busy():
    while True:
        print("x")


threading.Thread(target=busy, daemon=True).start()


def idf(n_documents, document_frequency):
    return 0.0
