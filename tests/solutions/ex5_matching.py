"""Reference answers for chapter 5."""

import numpy as np


def matching_score(attention, query_span, document_span):
    return attention[:, :, slice(*query_span), slice(*document_span)].sum(axis=-1)


def mean_curve(curves):
    return np.mean([curve.mean(axis=0) for curve in curves], axis=0)


def same_token_auc(attention, document_ids, query_id):
    same = np.array(document_ids) == query_id
    if same.all() or not same.any():
        return float("nan")
    differences = attention[same][:, None] - attention[~same][None, :]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def choose_heads(rise, low, auc, min_rise, min_auc):
    wanted = (rise >= min_rise) & (low > 0) & (auc >= min_auc)
    heads = sorted(np.argwhere(wanted), key=lambda place: -rise[tuple(place)])
    return [f"{layer}.{head}" for layer, head in heads]


def tfc1_pair(document, term, filler):
    return document + [filler] * len(term), document + term


def tdc_pair(document, words, idf):
    common, rare = words if idf[0] < idf[1] else words[::-1]
    return [*document, common], [*document, rare]
