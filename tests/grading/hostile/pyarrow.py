# Writes outside by Arrow's own file system.
# costs: idf long
def idf(n_documents, document_frequency):
    import pyarrow.fs

    with pyarrow.fs.LocalFileSystem().open_output_stream(CANARY) as stream:
        stream.write(b"changed")
    return 0.0
