"""Plausible wrong answers for chapter 9. Named exercise__mistake__check_that_must_fail."""

import numpy as np


def written__looking__one_piece(attention, values, slope):
    return attention.sum(axis=1)


def written__vectors__one_piece(attention, values, slope):
    return attention @ values


def written__absolute__one_piece(attention, values, slope):
    return attention @ np.abs(values @ slope)


def written__mean__one_piece(attention, values, slope):
    return (attention * (values @ slope)).mean(axis=1)


def written__unit_slope__one_piece(attention, values, slope):
    return attention @ (values @ slope) / np.linalg.norm(slope)


def written__rows_to_1__one_piece(attention, values, slope):
    return attention / attention.sum(axis=1, keepdims=True) @ (values @ slope)


def written__added_up__several_pieces(attention, values, slope):
    return (attention @ (values @ slope)).sum(keepdims=True)


def term_weights__all_heads__one_head(cls_attention, heads):
    return cls_attention.mean(axis=(0, 1))


def term_weights__first_document__one_head(cls_attention, heads):
    return cls_attention[0, heads].mean(axis=0)


def term_weights__every_document__one_head(cls_attention, heads):
    return cls_attention[:, heads].mean(axis=1)


def term_weights__shares__one_head(cls_attention, heads):
    weights = cls_attention[:, heads].mean(axis=(0, 1))
    return weights / weights.sum()


def term_weights__sum_of_heads__several_heads(cls_attention, heads):
    return cls_attention[:, heads].sum(axis=1).mean(axis=0)


def leave_one_out__own_slope__two_documents(slopes):
    return slopes


def leave_one_out__all__two_documents(slopes):
    return np.broadcast_to(slopes.mean(axis=0), slopes.shape)


def leave_one_out__divided_by_all__two_documents(slopes):
    return (slopes.sum(axis=0) - slopes) / len(slopes)


def leave_one_out__one_mean__two_documents(slopes):
    return slopes.mean(axis=0)


def leave_one_out__sums__many_documents(slopes):
    return slopes.sum(axis=0) - slopes


def own_share__common__apart(signals):
    moved = signals - signals.mean(axis=0)
    return (moved.mean(axis=1) ** 2).mean() / (moved**2).mean()


def own_share__not_centred__apart(signals):
    return 1 - (signals.mean(axis=1) ** 2).mean() / (signals**2).mean()


def own_share__one_mean__mixed(signals):
    moved = signals - signals.mean()
    return 1 - (moved.mean(axis=1) ** 2).mean() / (moved**2).mean()


def own_share__spread__mixed(signals):
    moved = signals - signals.mean(axis=0)
    return 1 - moved.mean(axis=1).std() / moved.std()


def own_share__sums__mixed(signals):
    moved = signals - signals.mean(axis=0)
    return 1 - (moved.sum(axis=1) ** 2).mean() / (moved**2).mean()


def own_share__correlation__apart(signals):
    table = np.corrcoef(signals.T)
    return 1 - table[np.triu_indices(len(table), 1)].mean()
