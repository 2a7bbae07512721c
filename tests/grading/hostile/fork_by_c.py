# Forks by the C library and leaves a process behind.
# costs: idf
import ctypes
import time


def idf(n_documents, document_frequency):
    libc = ctypes.CDLL(None)
    if libc.fork() >= 0 or libc.vfork() >= 0:
        time.sleep(60)
        raise RuntimeError("ESCAPED")
    return 0.0
