# Raises and returns half of a character.
# costs: idf
def idf(n_documents, document_frequency):
    if document_frequency == 1:
        return "\ud800"
    raise ValueError("\ud800 \udfff")
