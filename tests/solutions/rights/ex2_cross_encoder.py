"""Right answers for chapter 2, written another way."""

import numpy as np


def pair_ids__step_by_step(query, document, cls_id, sep_id):
    ids, types = [cls_id], [0]
    for kind, text in enumerate((query, document)):
        for token in [*text, sep_id]:
            ids.append(token)
            types.append(kind)
    return ids, types


def spans__numpy(input_ids, sep_id):
    first, second = np.flatnonzero(np.array(input_ids) == sep_id)[:2]
    return [[1, int(first)], [int(first) + 1, int(second)]]


def pad_batch__fill(rows, pad_id):
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(int)


def score_by_hand__matrices(hf, hidden):
    pooler, classifier = hf.bert.pooler.dense, hf.classifier
    pooled = (hidden[:, 0, :] @ pooler.weight.T + pooler.bias).tanh()
    return (pooled @ classifier.weight.T + classifier.bias).flatten()
