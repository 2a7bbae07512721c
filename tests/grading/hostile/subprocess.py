# Starts a program.
# costs: idf
import subprocess


def idf(n_documents, document_frequency):
    subprocess.run(["/usr/bin/touch", "/tmp/x"], check=True)
    raise RuntimeError("ESCAPED")
