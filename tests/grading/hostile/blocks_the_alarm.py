# Blocks every signal and then computes without end.
# costs: idf time
import signal


def idf(n_documents, document_frequency):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    signal.signal = signal.setitimer = lambda *_: None
    while True:
        pass
