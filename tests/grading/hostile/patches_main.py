# Patches the module that runs it, then writes outside.
# costs: idf
import __main__
import sys

for module in [__main__, *list(sys.modules.values())]:
    for name in ("refuse_unless", "lock", "limit_resources", "Described"):
        if hasattr(module, name):
            setattr(module, name, lambda *_: None)


def idf(n_documents, document_frequency):
    open(CANARY, "w").write("changed")
    return 0.0
