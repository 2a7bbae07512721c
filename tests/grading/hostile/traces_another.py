# Attaches to a process by ptrace.
# costs: idf
import ctypes
import os


def idf(n_documents, document_frequency):
    libc = ctypes.CDLL(None)
    for process in (PROCESS, 1, os.getppid()):
        if libc.ptrace(16, process, None, None) == 0:
            raise RuntimeError("ESCAPED")
    return 0.0
