"""Plausible wrong answers for chapter 7. Named exercise__mistake__check_that_must_fail."""

import numpy as np
from scipy.special import softmax
from scipy.stats import pearsonr, spearmanr


def cls_attention__column__one_piece_words(attention, words):
    return np.stack([attention[:, pieces, 0].mean(axis=-1) for pieces in words], axis=-1)


def cls_attention__sum__many_pieces(attention, words):
    return np.stack([attention[:, 0, pieces].sum(axis=-1) for pieces in words], axis=-1)


def cls_attention__first_piece__many_pieces(attention, words):
    return attention[:, 0, [pieces[0] for pieces in words]]


def cls_attention__largest__many_pieces(attention, words):
    return np.stack([attention[:, 0, pieces].max(axis=-1) for pieces in words], axis=-1)


def cls_attention__shifted__one_piece_words(attention, words):
    return np.stack([attention[:, 0, np.array(pieces) - 1].mean(axis=-1) for pieces in words], axis=-1)


def attention_by_idf__pooled__each_query(attention, idf):
    return spearmanr(np.concatenate(attention), np.concatenate(idf)).statistic


def attention_by_idf__pearson__each_query(attention, idf):
    return np.mean([pearsonr(a, b).statistic for a, b in zip(attention, idf, strict=True) if len(a) >= 3])


def attention_by_idf__median__each_query(attention, idf):
    return np.median([spearmanr(a, b).statistic for a, b in zip(attention, idf, strict=True) if len(a) >= 3])


def attention_by_idf__two_words__too_short(attention, idf):
    return np.mean([spearmanr(a, b).statistic for a, b in zip(attention, idf, strict=True) if len(a) >= 2])


def attention_by_idf__zero__too_short(attention, idf):
    return np.mean([spearmanr(a, b).statistic if len(a) >= 3 else 0 for a, b in zip(attention, idf, strict=True)])


def _columns(z, head, n_heads):
    d_head = z.shape[1] // n_heads
    return slice(head * d_head, (head + 1) * d_head)


def head_contribution__transposed__adds_up(z, weight, head, n_heads):
    columns = _columns(z, head, n_heads)
    return z[:, columns] @ weight[columns]


def head_contribution__everything__adds_up(z, weight, head, n_heads):
    return z @ weight.T


def head_contribution__after_projection__own_part(z, weight, head, n_heads):
    out = np.zeros_like(z)
    columns = _columns(z, head, n_heads)
    out[:, columns] = (z @ weight.T)[:, columns]
    return out


def head_contribution__interleaved__own_part(z, weight, head, n_heads):
    return z[:, head::n_heads] @ weight[:, head::n_heads].T


def head_contribution__equal_shares__own_part(z, weight, head, n_heads):
    return z @ weight.T / n_heads


def _softmax_with(logits, rows, columns, value):
    logits = logits.copy()
    logits[:, rows, columns] = value
    return softmax(logits, axis=-1)


def cut_document__after_softmax__cls_row(logits, document_span):
    attention = softmax(logits, axis=-1)
    attention[:, 0, slice(*document_span)] = 0
    return attention


def cut_document__zero_logit__cls_row(logits, document_span):
    return _softmax_with(logits, 0, slice(*document_span), 0)


def cut_document__exchanged__cls_row(logits, document_span):
    return _softmax_with(logits, slice(*document_span), 0, -np.inf)


def cut_document__with_sep__cls_row(logits, document_span):
    return _softmax_with(logits, 0, slice(document_span[0], document_span[1] + 1), -np.inf)


def cut_document__every_row__other_rows(logits, document_span):
    return _softmax_with(logits, slice(None), slice(*document_span), -np.inf)


def attention_by_idf__three_words_dropped__too_short(attention, idf):
    kept = [(a, b) for a, b in zip(attention, idf, strict=True) if len(a) > 3]
    return np.mean([spearmanr(a, b).statistic for a, b in kept])


def attention_by_idf__places_for_ranks__ties_and_constants(attention, idf):
    ranks = [
        [np.argsort(np.argsort(one)) for one in pair] for pair in zip(attention, idf, strict=True) if len(pair[0]) > 2
    ]
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in ranks])
