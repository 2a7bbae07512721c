# Starts a program by the private module below subprocess.
# costs: idf
def idf(n_documents, document_frequency):
    import _posixsubprocess
    import os

    reading, writing = os.pipe()
    arguments = [b"sh", b"-c", b"echo changed > " + CANARY.encode()]
    _posixsubprocess.fork_exec(
        arguments,
        [b"/bin/sh"],
        True,
        (),
        None,
        None,
        -1,
        -1,
        -1,
        -1,
        -1,
        -1,
        reading,
        writing,
        False,
        False,
        -1,
        None,
        None,
        None,
        -1,
        None,
        False,
    )
    return 0.0
