# Writes outside by the C library.
# costs: idf
import ctypes


def idf(n_documents, document_frequency):
    libc = ctypes.CDLL(None)
    descriptor = libc.open(CANARY.encode(), 0x241, 0o644)
    if libc.write(descriptor, b"changed", 7) == 7:
        raise RuntimeError("ESCAPED")
    return 0.0
