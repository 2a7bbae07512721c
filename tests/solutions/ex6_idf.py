"""Reference answers for chapter 6."""

import numpy as np


def u0(matrix):
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    return u[:, 0] if v[0] @ matrix.mean(axis=0) > 0 else -u[:, 0]


def u0_idf_correlation(u0, vocabulary, idf):
    shared = [word for word in vocabulary if word in idf]
    return np.corrcoef([u0[vocabulary[word]] for word in shared], [idf[word] for word in shared])[0, 1]


def edit_u0(matrix, u0, s0, v0, token_ids, s):
    edited = matrix.copy()
    edited[token_ids] += s * np.std(u0) * s0 * v0
    return edited


def random_edit(matrix, u0, s0, token_ids, s, rng):
    direction = rng.normal(size=matrix.shape[1])
    direction /= np.linalg.norm(direction)
    edited = matrix.copy()
    edited[token_ids] += s * np.std(u0) * s0 * direction
    return edited


def partial_correlation(x, y, control):
    left = [value - np.polyval(np.polyfit(control, value, 1), control) for value in (x, y)]
    return np.corrcoef(*left)[0, 1]
