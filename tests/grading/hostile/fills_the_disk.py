# Fills the only place where it can write.
# costs: idf
import os


def idf(n_documents, document_frequency):
    written = 0
    for number in range(1000):
        try:
            with open(f"/tmp/{number}", "wb") as file:
                written += file.write(bytes(1_000_000))
        except OSError:
            break
    if written > 100_000_000:
        raise RuntimeError("ESCAPED")
    return 0.0
