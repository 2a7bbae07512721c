"""Right answers for chapter 5, written another way."""

import numpy as np
import torch
from scipy.stats import mannwhitneyu


def matching_score__mask(attention, query_span, document_span):
    inside = torch.zeros(attention.shape[-1], dtype=torch.float64)
    inside[document_span[0] : document_span[1]] = 1
    scores = torch.einsum("lhij,j->lhi", torch.from_numpy(attention), inside)
    return scores[..., query_span[0] : query_span[1]]


def mean_curve__running(curves):
    total = 0
    for curve in curves:
        total = total + np.sum(curve, axis=0) / len(curve)
    return (total / len(curves)).tolist()


def same_token_auc__mann_whitney(attention, document_ids, query_id):
    copies = [value for value, token in zip(attention, document_ids, strict=True) if token == query_id]
    others = [value for value, token in zip(attention, document_ids, strict=True) if token != query_id]
    if not copies or not others:
        return np.nan
    return mannwhitneyu(copies, others).statistic / len(copies) / len(others)


def choose_heads__loop(rise, low, auc, min_rise, min_auc):
    found = []
    for layer in range(rise.shape[0]):
        for head in range(rise.shape[1]):
            if rise[layer][head] >= min_rise and low[layer][head] > 0 and auc[layer][head] >= min_auc:
                found.append((rise[layer][head], f"{layer}.{head}"))
    return [name for _, name in sorted(found, reverse=True)]


def tfc1_pair__unpacked(document, term, filler):
    return [*document, *(filler for _ in term)], [*document, *term]


def tdc_pair__sorted(document, words, idf):
    return [list(document) + [word] for _, word in sorted(zip(idf, words, strict=True))]
