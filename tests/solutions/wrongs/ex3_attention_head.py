"""Plausible wrong answers for chapter 3. Named exercise__mistake__check_that_must_fail."""

import numpy as np
from scipy.special import softmax


def match_share__copies_not_below__is_a_share(tf, length, beta, sink):
    return tf * np.exp(beta) / (length - tf + np.exp(sink))


def match_share__no_sink__value(tf, length, beta, sink):
    return tf * np.exp(beta) / (tf * np.exp(beta) + length - tf)


def match_share__counted_twice__value(tf, length, beta, sink):
    return tf * np.exp(beta) / (tf * np.exp(beta) + length + np.exp(sink))


def match_share__plain_sink__value(tf, length, beta, sink):
    return tf * np.exp(beta) / (tf * np.exp(beta) + length - tf + sink)


def match_share__plain_beta__value(tf, length, beta, sink):
    return tf * beta / (tf * beta + length - tf + np.exp(sink))


def logits_for__no_plus_one__beta(k1, b, avgdl):
    return np.log(avgdl / (k1 * b)), np.log(avgdl * (1 - b) / b)


def logits_for__weights__beta(k1, b, avgdl):
    return 1 + avgdl / (k1 * b), avgdl * (1 - b) / b


def logits_for__exchanged__beta(k1, b, avgdl):
    return np.log(avgdl * (1 - b) / b), np.log(1 + avgdl / (k1 * b))


def logits_for__upside_down__sink(k1, b, avgdl):
    return np.log(1 + avgdl / (k1 * b)), np.log(avgdl * b / (1 - b))


def logits_for__no_avgdl__sink(k1, b, avgdl):
    return np.log(1 + avgdl / (k1 * b)), np.log((1 - b) / b)


def logits_for__zero__b_is_one(k1, b, avgdl):
    return np.log(1 + avgdl / (k1 * b)), np.log(avgdl * (1 - b) / b) if b < 1 else 0.0


def read_k1_b__one_minus_b__reads_b(beta, sink, avgdl):
    b = np.exp(sink) / (avgdl + np.exp(sink))
    return avgdl / (b * (np.exp(beta) - 1)), b


def read_k1_b__plain_sink__reads_b(beta, sink, avgdl):
    b = avgdl / (avgdl + sink)
    return avgdl / (b * (np.exp(beta) - 1)), b


def read_k1_b__exchanged__reads_b(beta, sink, avgdl):
    b = avgdl / (avgdl + np.exp(sink))
    return b, avgdl / (b * (np.exp(beta) - 1))


def read_k1_b__no_minus_one__reads_k1(beta, sink, avgdl):
    b = avgdl / (avgdl + np.exp(sink))
    return avgdl / (b * np.exp(beta)), b


def read_k1_b__no_b__reads_k1(beta, sink, avgdl):
    return avgdl / (np.exp(beta) - 1), avgdl / (avgdl + np.exp(sink))


def _weights(query_id, document, k1, b, avgdl):
    return np.array([avgdl * (1 - b) / b] + [1 + avgdl / (k1 * b) if token == query_id else 1.0 for token in document])


def attention_row__no_sink__is_a_distribution(query_id, document, k1, b, avgdl):
    weights = _weights(query_id, document, k1, b, avgdl)[1:]
    return weights / weights.sum()


def attention_row__logits__is_a_distribution(query_id, document, k1, b, avgdl):
    return np.log(_weights(query_id, document, k1, b, avgdl))


def attention_row__not_divided__is_a_distribution(query_id, document, k1, b, avgdl):
    return _weights(query_id, document, k1, b, avgdl)


def attention_row__sink_last__is_bm25(query_id, document, k1, b, avgdl):
    weights = _weights(query_id, document, k1, b, avgdl)
    return np.roll(weights / weights.sum(), -1)


def attention_row__sink_logit_0__is_bm25(query_id, document, k1, b, avgdl):
    weights = _weights(query_id, document, k1, b, avgdl)
    weights[0] = 1
    return weights / weights.sum()


def attention_row__weights_as_logits__is_bm25(query_id, document, k1, b, avgdl):
    return softmax(_weights(query_id, document, k1, b, avgdl))


def attention_row__softmax_twice__is_bm25(query_id, document, k1, b, avgdl):
    weights = _weights(query_id, document, k1, b, avgdl)
    return softmax(weights / weights.sum())


def attention_row__another_word_has_logit_1__is_bm25(query_id, document, k1, b, avgdl):
    beta, sink = np.log(1 + avgdl / (k1 * b)), np.log(avgdl * (1 - b) / b)
    return softmax([sink, *(beta if token == query_id else 1.0 for token in document)])


def attention_row__own_length__is_bm25(query_id, document, k1, b, avgdl):
    weights = _weights(query_id, document, k1, b, len(document))
    return weights / weights.sum()


def scoring_head__idf_as_logit__light_sink(idf, share, sink):
    weights = np.exp(np.append(idf, sink))
    return float((weights / weights.sum())[:-1] @ share)


def scoring_head__plain_mean__light_sink(idf, share, sink):
    return float(share.mean())


def scoring_head__sum__light_sink(idf, share, sink):
    return float(idf @ share)


def scoring_head__sink_ignored__heavy_sink(idf, share, sink):
    return float(idf @ share / idf.sum())


def scoring_head__sink_has_value__heavy_sink(idf, share, sink):
    return float((idf @ share + np.exp(sink)) / (idf.sum() + np.exp(sink)))


def soft_match__share_of_beta__logit(weight, beta):
    return weight * beta, weight * np.exp(beta) / (1 + weight * (np.exp(beta) - 1))


def soft_match__no_minus_one__logit(weight, beta):
    return np.log(1 + weight * np.exp(beta)), weight * np.exp(beta) / (1 + weight * (np.exp(beta) - 1))


def soft_match__reads_g__read(weight, beta):
    return np.log(1 + weight * (np.exp(beta) - 1)), weight


def soft_match__no_weight__read(weight, beta):
    return np.log(1 + weight * (np.exp(beta) - 1)), np.exp(beta) / (1 + weight * (np.exp(beta) - 1))


def attention_row__uniform_without_a_match__edges(query_id, document, k1, b, avgdl):
    if query_id not in document:
        return np.full(len(document) + 1, 1 / (len(document) + 1))
    weights = np.array([avgdl * (1 - b) / b, *(1 + avgdl / (k1 * b) * (token == query_id) for token in document)])
    return weights / weights.sum()
