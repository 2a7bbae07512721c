# Kills its own process.
# costs: idf
import os
import signal


def idf(n_documents, document_frequency):
    os.kill(os.getpid(), signal.SIGKILL)
    signal.raise_signal(signal.SIGTERM)
