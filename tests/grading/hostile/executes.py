# Becomes another program.
# costs: idf
import os
import sys


def idf(n_documents, document_frequency):
    os.execv(sys.executable or "/usr/bin/python3", ["python", "-c", "open(" + repr(CANARY) + ", 'w').write('changed')"])
