"""Right answers for chapter 3, written another way."""

import math

import numpy as np
import torch
from scipy.special import softmax


def match_share__softmax(tf, length, beta, sink):
    return softmax([beta] * tf + [0.0] * (length - tf) + [sink])[:tf].sum()


def logits_for__difference(k1, b, avgdl):
    sink = math.log(avgdl) + math.log(1 - b) - math.log(b) if b != 1 else float("-inf")
    return [math.log(k1 * b + avgdl) - math.log(k1 * b), sink]


def read_k1_b__weights(beta, sink, avgdl):
    b = 1 / (1 + math.exp(sink - math.log(avgdl)))
    return np.array([avgdl / b / math.expm1(beta), b])


def attention_row__torch(query_id, document, k1, b, avgdl):
    same = torch.tensor(document, dtype=torch.float64).eq(query_id).double()
    logits = torch.cat([torch.tensor([math.log(avgdl * (1 - b) / b)]).double(), same * math.log1p(avgdl / (k1 * b))])
    return torch.softmax(logits, dim=0)


def scoring_head__softmax(idf, share, sink):
    return softmax(np.append(np.log(idf), sink)) @ np.append(share, 0.0)


def soft_match__expm1(weight, beta):
    more = weight * np.expm1(beta)
    return [np.log1p(more), (more + weight) / (1 + more)]
