"""Right answers for chapter 6, written another way."""

import numpy as np
import torch


def u0__eigenvectors(matrix):
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    v = vectors[:, np.argmax(values)]
    v = v * np.sign(v @ matrix.sum(axis=0))
    return matrix @ v / np.sqrt(values.max())


def u0__sign_of_u(matrix):
    u = np.linalg.svd(matrix, full_matrices=False)[0][:, 0]
    return u * np.sign(u.sum())  # v0 . mean row is S0 times the mean of u0


def u0_idf_correlation__by_hand(u0, vocabulary, idf):
    pairs = np.array([(u0[place], idf[word]) for word, place in vocabulary.items() if word in idf])
    x, y = (pairs - pairs.mean(axis=0)).T
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def edit_u0__through_u(matrix, u0, s0, v0, token_ids, s):
    raised = u0.copy()
    for number in token_ids:
        raised[number] += s * u0.std()
    return matrix + s0 * np.outer(raised - u0, v0)


def random_edit__torch(matrix, u0, s0, token_ids, s, rng):
    direction = torch.nn.functional.normalize(torch.tensor(rng.standard_normal(matrix.shape[1])), dim=0)
    edited = torch.tensor(matrix)
    edited[token_ids] = edited[token_ids] + s * float(np.std(u0)) * s0 * direction
    return edited


def partial_correlation__least_squares(x, y, control):
    design = np.column_stack([control, np.ones(len(control))])
    a, b = (value - design @ np.linalg.lstsq(design, value, rcond=None)[0] for value in (x, y))
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
