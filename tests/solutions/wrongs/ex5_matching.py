"""Plausible wrong answers for chapter 5. Named exercise__mistake__check_that_must_fail."""

import numpy as np


def matching_score__transposed__one_head(attention, query_span, document_span):
    return attention[:, :, slice(*document_span), slice(*query_span)].sum(axis=-2)


def matching_score__with_last_sep__one_head(attention, query_span, document_span):
    return attention[:, :, slice(*query_span), document_span[0] : document_span[1] + 1].sum(axis=-1)


def matching_score__mean__one_head(attention, query_span, document_span):
    return attention[:, :, slice(*query_span), slice(*document_span)].mean(axis=-1)


def matching_score__query_side__one_head(attention, query_span, document_span):
    return attention[:, :, slice(*query_span), slice(*query_span)].sum(axis=-1)


def matching_score__mean_over_heads__all_heads(attention, query_span, document_span):
    scores = attention[:, :, slice(*query_span), slice(*document_span)].sum(axis=-1)
    return scores if scores.shape[1] == 1 else scores.mean(axis=1)


def mean_curve__pooled__unequal_groups(curves):
    return np.concatenate(curves).mean(axis=0)


def mean_curve__first_document__equal_groups(curves):
    return np.mean([curve[0] for curve in curves], axis=0)


def mean_curve__sum__equal_groups(curves):
    return np.sum([curve.mean(axis=0) for curve in curves], axis=0)


def mean_curve__from_zero__equal_groups(curves):
    mean = np.mean([curve.mean(axis=0) for curve in curves], axis=0)
    return mean - mean[0]


def _groups(attention, document_ids, query_id):
    same = np.array(document_ids) == query_id
    return attention[same], attention[~same]


def same_token_auc__exchanged__no_ties(attention, document_ids, query_id):
    copies, others = _groups(attention, document_ids, query_id)
    return (copies[:, None] < others).mean()


def same_token_auc__share__no_ties(attention, document_ids, query_id):
    copies, _ = _groups(attention, document_ids, query_id)
    return copies.sum() / attention.sum()


def same_token_auc__difference__no_ties(attention, document_ids, query_id):
    copies, others = _groups(attention, document_ids, query_id)
    return copies.mean() - others.mean()


def same_token_auc__ties_lost__ties(attention, document_ids, query_id):
    copies, others = _groups(attention, document_ids, query_id)
    return (copies[:, None] > others).mean()


def same_token_auc__chance__nothing_to_compare(attention, document_ids, query_id):
    copies, others = _groups(attention, document_ids, query_id)
    if not len(copies) or not len(others):
        return 0.5
    return ((copies[:, None] > others) + 0.5 * (copies[:, None] == others)).mean()


def same_token_auc__zero__nothing_to_compare(attention, document_ids, query_id):
    copies, others = _groups(attention, document_ids, query_id)
    pairs = (copies[:, None] > others) + 0.5 * (copies[:, None] == others)
    return pairs.sum() / max(pairs.size, 1)


def _names(wanted, rise):
    return [f"{layer}.{head}" for layer, head in sorted(np.argwhere(wanted), key=lambda place: -rise[tuple(place)])]


def choose_heads__in_order__by_rise(rise, low, auc, min_rise, min_auc):
    return [f"{layer}.{head}" for layer, head in np.argwhere((rise >= min_rise) & (low > 0) & (auc >= min_auc))]


def choose_heads__weakest_first__by_rise(rise, low, auc, min_rise, min_auc):
    return _names((rise >= min_rise) & (low > 0) & (auc >= min_auc), -rise)


def choose_heads__from_one__by_rise(rise, low, auc, min_rise, min_auc):
    heads = _names((rise >= min_rise) & (low > 0) & (auc >= min_auc), rise)
    return [".".join(str(int(part) + 1) for part in name.split(".")) for name in heads]


def choose_heads__no_interval__all_conditions(rise, low, auc, min_rise, min_auc):
    return _names((rise >= min_rise) & (auc >= min_auc), rise)


def choose_heads__no_auc__all_conditions(rise, low, auc, min_rise, min_auc):
    return _names((rise >= min_rise) & (low > 0), rise)


def choose_heads__rise_alone__all_conditions(rise, low, auc, min_rise, min_auc):
    return _names(rise >= min_rise, rise)


def tfc1_pair__takes_the_term_out__perturbed(document, term, filler):
    return document + [filler] * len(term), [token for token in document if token not in term] + term


def tfc1_pair__prepended__perturbed(document, term, filler):
    return [filler] * len(term) + document, term + document


def tfc1_pair__exchanged__perturbed(document, term, filler):
    return document + term, document + [filler] * len(term)


def tfc1_pair__not_padded__baseline(document, term, filler):
    return document, document + term


def tfc1_pair__one_filler__baseline(document, term, filler):
    return document + [filler], document + term


def tfc1_pair__term_removed__baseline(document, term, filler):
    return [filler if token in term else token for token in document] + [filler] * len(term), document + term


def tdc_pair__turned_around__rarer_last(document, words, idf):
    common, rare = words if idf[0] < idf[1] else words[::-1]
    return [*document, rare], [*document, common]


def tdc_pair__as_given__either_order(document, words, idf):
    return [*document, words[0]], [*document, words[1]]


def tdc_pair__at_the_start__rarer_last(document, words, idf):
    common, rare = words if idf[0] < idf[1] else words[::-1]
    return [common, *document], [rare, *document]


def tdc_pair__both_words__rarer_last(document, words, idf):
    common, rare = words if idf[0] < idf[1] else words[::-1]
    return [*document, common], [*document, common, rare]


def _chosen(rise, wanted):
    places = sorted(map(tuple, np.argwhere(wanted)), key=lambda place: -rise[place])
    return [f"{layer}.{head}" for layer, head in places]


def choose_heads__rise_above__limits(rise, low, auc, min_rise, min_auc):
    return _chosen(rise, (rise > min_rise) & (low > 0) & (auc >= min_auc))


def choose_heads__low_may_be_0__limits(rise, low, auc, min_rise, min_auc):
    return _chosen(rise, (rise >= min_rise) & (low >= 0) & (auc >= min_auc))


def choose_heads__auc_above__limits(rise, low, auc, min_rise, min_auc):
    return _chosen(rise, (rise >= min_rise) & (low > 0) & (auc > min_auc))
