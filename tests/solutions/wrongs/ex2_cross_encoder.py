"""Plausible wrong answers for chapter 2. Named exercise__mistake__check_that_must_fail."""

import numpy as np
import torch


def pair_ids__no_middle_sep__tokens(query, document, cls_id, sep_id):
    return [cls_id, *query, *document, sep_id], [0] * (len(query) + 1) + [1] * (len(document) + 1)


def pair_ids__no_last_sep__tokens(query, document, cls_id, sep_id):
    return [cls_id, *query, sep_id, *document], [0] * (len(query) + 2) + [1] * len(document)


def pair_ids__second_cls__tokens(query, document, cls_id, sep_id):
    return [cls_id, *query, sep_id, cls_id, *document, sep_id], [0] * (len(query) + 2) + [1] * (len(document) + 2)


def pair_ids__one_type__types(query, document, cls_id, sep_id):
    ids = [cls_id, *query, sep_id, *document, sep_id]
    return ids, [0] * len(ids)


def pair_ids__sep_to_document__types(query, document, cls_id, sep_id):
    return [cls_id, *query, sep_id, *document, sep_id], [0] * (len(query) + 1) + [1] * (len(document) + 2)


def _separators(input_ids, sep_id):
    first = input_ids.index(sep_id)
    return first, input_ids.index(sep_id, first + 1)


def spans__with_cls__unpadded(input_ids, sep_id):
    first, second = _separators(input_ids, sep_id)
    return (0, first), (first + 1, second)


def spans__last_position__unpadded(input_ids, sep_id):
    first, second = _separators(input_ids, sep_id)
    return (1, first - 1), (first + 1, second - 1)


def spans__with_sep__unpadded(input_ids, sep_id):
    first, second = _separators(input_ids, sep_id)
    return (1, first + 1), (first + 1, second + 1)


def spans__from_sep__unpadded(input_ids, sep_id):
    first, second = _separators(input_ids, sep_id)
    return (1, first), (first, second)


def spans__to_the_end__padded(input_ids, sep_id):
    first, _ = _separators(input_ids, sep_id)
    return (1, first), (first + 1, len(input_ids) - 1)


def _ids(rows, pad_id):
    width = max(len(row) for row in rows)
    return np.array([row + [pad_id] * (width - len(row)) for row in rows])


def pad_batch__left__ids(rows, pad_id):
    width = max(len(row) for row in rows)
    ids = np.array([[pad_id] * (width - len(row)) + row for row in rows])
    return ids, (ids != pad_id).astype(int)


def pad_batch__cut__ids(rows, pad_id):
    width = min(len(row) for row in rows)
    ids = np.array([row[:width] for row in rows])
    return ids, np.ones_like(ids)


def pad_batch__by_id__mask(rows, pad_id):
    ids = _ids(rows, pad_id)
    return ids, (ids != pad_id).astype(int)


def pad_batch__ones__mask(rows, pad_id):
    ids = _ids(rows, pad_id)
    return ids, np.ones_like(ids)


def pad_batch__inverted__mask(rows, pad_id):
    ids = _ids(rows, pad_id)
    return ids, np.array([[0] * len(row) + [1] * (ids.shape[1] - len(row)) for row in rows])


def score_by_hand__no_tanh__one_pair(hf, hidden):
    return hf.classifier(hf.bert.pooler.dense(hidden[:, 0]))[:, 0]


def score_by_hand__mean__one_pair(hf, hidden):
    return hf.classifier(torch.tanh(hf.bert.pooler.dense(hidden.mean(dim=1))))[:, 0]


def score_by_hand__sigmoid__one_pair(hf, hidden):
    return torch.sigmoid(hf.classifier(torch.tanh(hf.bert.pooler.dense(hidden[:, 0])))[:, 0])


def score_by_hand__last_token__one_pair(hf, hidden):
    return hf.classifier(torch.tanh(hf.bert.pooler.dense(hidden[:, -1])))[:, 0]


def score_by_hand__column__one_pair(hf, hidden):
    return hf.classifier(torch.tanh(hf.bert.pooler.dense(hidden[:, 0])))


def score_by_hand__first_row__batch(hf, hidden):
    return hf.classifier(torch.tanh(hf.bert.pooler.dense(hidden[:1, 0])))[:, 0]


def pad_batch__pad_id_ignored__ids(rows, pad_id):
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    return ids, np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def score_by_hand__no_biases__one_pair(hf, hidden):
    pooled = torch.tanh(hidden[:, 0] @ hf.bert.pooler.dense.weight.T)
    return (pooled @ hf.classifier.weight.T)[:, 0]
