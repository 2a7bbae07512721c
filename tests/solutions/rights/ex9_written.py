"""Right answers for chapter 9, written another way."""

import numpy as np
import torch


def written__vector_first(attention, values, slope):
    z = torch.tensor(attention) @ torch.tensor(values)
    return z @ torch.tensor(slope)


def written__loops(attention, values, slope):
    return [sum(a * float(np.dot(v, slope)) for a, v in zip(row, values, strict=True)) for row in attention]


def term_weights__loops(cls_attention, heads):
    return [
        float(np.mean([row[head][piece] for row in cls_attention for head in heads]))
        for piece in range(cls_attention.shape[2])
    ]


def leave_one_out__delete(slopes):
    return np.stack([np.delete(slopes, place, axis=0).mean(axis=0) for place in range(len(slopes))])


def own_share__rest(signals):
    moved = signals - signals.mean(axis=0)
    own = moved - moved.mean(axis=1, keepdims=True)
    return float(own.var() / moved.var())
