# Looks for a second place to write.
# costs: idf
import os


def idf(n_documents, document_frequency):
    for folder in (
        "/",
        "/dev",
        "/dev/shm",
        "/run",
        "/proc",
        "/var/tmp",
        "/answers",
        "/usr",
        "/lib",
        "/root",
        "/home",
        "/etc",
    ):
        try:
            open(os.path.join(folder, "x"), "w").close()
        except OSError:
            continue
        raise RuntimeError(f"ESCAPED {folder}")
    return 0.0
