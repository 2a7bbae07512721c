# Connects by the C library.
# costs: idf
import ctypes
import struct


def idf(n_documents, document_frequency):
    libc = ctypes.CDLL(None)
    place = struct.pack("=H", 2) + struct.pack("!H", PORT) + bytes([127, 0, 0, 1]) + bytes(8)
    if libc.connect(libc.socket(2, 1, 0), place, 16) == 0:
        raise RuntimeError("ESCAPED")
    return 0.0
