# Writes outside by SQLite.
# costs: idf
import sqlite3


def idf(n_documents, document_frequency):
    connection = sqlite3.connect(CANARY + ".db")
    connection.execute("create table t (x)")
    connection.commit()
    raise RuntimeError("ESCAPED")
