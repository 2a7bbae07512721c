# Prints and raises escape codes, markup, formulas and HTML.
# costs: idf
TEXT = "\x1b]0;owned\x07\x1b[2J\u202e[bold red]=cmd|' /C calc'!A0\t@SUM(1)<script>alert(1)</script>\r\n\x9b31m\ud800"


def idf(n_documents, document_frequency):
    print(TEXT)
    raise ValueError(TEXT)
