# Connects to a server of this machine.
# costs: idf
import socket


def idf(n_documents, document_frequency):
    socket.create_connection(("127.0.0.1", PORT), timeout=1).send(b"changed")
    raise RuntimeError("ESCAPED")
