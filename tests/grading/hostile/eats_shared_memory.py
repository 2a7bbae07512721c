# Fills memory that belongs to no process.
# costs: idf
import ctypes
import mmap
import os


def idf(n_documents, document_frequency):
    try:
        mmap.mmap(-1, 10**9)
    except OSError:
        pass
    else:
        raise RuntimeError("ESCAPED mmap")
    for make in (lambda: os.memfd_create("x"), lambda: 0 / (ctypes.CDLL(None).shmget(0, 10**6, 0o1600) >= 0)):
        try:
            make()
        except (OSError, ZeroDivisionError):
            continue
        raise RuntimeError("ESCAPED")
    return 0.0
