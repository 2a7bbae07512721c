# Fetches a page by name and by address.
# costs: idf
import urllib.request


def idf(n_documents, document_frequency):
    for place in (f"http://127.0.0.1:{PORT}", "http://localhost", "http://example.org", "http://169.254.169.254"):
        try:
            urllib.request.urlopen(place, timeout=1)
        except OSError:
            continue
        raise RuntimeError("ESCAPED")
    return 0.0
