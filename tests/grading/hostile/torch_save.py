# Writes outside by PyTorch.
# costs: idf long
import torch


def idf(n_documents, document_frequency):
    torch.save(torch.zeros(3), CANARY)
    return 0.0
