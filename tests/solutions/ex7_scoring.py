"""Reference answers for chapter 7."""

import numpy as np
from scipy.special import softmax
from scipy.stats import spearmanr


def cls_attention(attention, words):
    return np.stack([attention[:, 0, pieces].mean(axis=-1) for pieces in words], axis=-1)


def attention_by_idf(attention, idf):
    return np.mean([spearmanr(a, b).statistic for a, b in zip(attention, idf, strict=True) if len(a) >= 3])


def head_contribution(z, weight, head, n_heads):
    d_head = z.shape[1] // n_heads
    columns = slice(head * d_head, (head + 1) * d_head)
    return z[:, columns] @ weight[:, columns].T


def cut_document(logits, document_span):
    logits = logits.copy()
    logits[:, 0, slice(*document_span)] = -np.inf
    return softmax(logits, axis=-1)
