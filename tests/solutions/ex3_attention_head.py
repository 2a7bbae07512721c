"""Reference answers for chapter 3."""

import numpy as np


def match_share(tf, length, beta, sink):
    copies = tf * np.exp(beta)
    return copies / (copies + length - tf + np.exp(sink))


def logits_for(k1, b, avgdl):
    beta = np.log(1 + avgdl / (k1 * b))
    return beta, np.log(avgdl * (1 - b) / b) if b < 1 else -np.inf


def read_k1_b(beta, sink, avgdl):
    b = avgdl / (avgdl + np.exp(sink))
    return avgdl / (b * (np.exp(beta) - 1)), b


def attention_row(query_id, document, k1, b, avgdl):
    beta, sink = logits_for(k1, b, avgdl)
    logits = np.array([sink] + [beta if token == query_id else 0.0 for token in document])
    weights = np.exp(logits)
    return weights / weights.sum()


def scoring_head(idf, share, sink):
    return float((idf * share).sum() / (idf.sum() + np.exp(sink)))


def soft_match(weight, beta):
    strength = 1 + weight * (np.exp(beta) - 1)
    return np.log(strength), weight * np.exp(beta) / strength
