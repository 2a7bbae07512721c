"""Checks for chapter 7. Oracles: SciPy, PyTorch's own linear layer, and sums written as loops."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import special, stats

from semanticbm.grading.answer import FLOAT32, distance
from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(7)

# --------------------------------------------------------------------------------------------------------------------
cls_attention = FILE.exercise("cls_attention", "How much [CLS] looks at each word of the query.", 2, 15, 2)


def _pattern(case, n_heads: int, size: int) -> np.ndarray:
    return special.softmax(case.rng(1).normal(0, 1.5, (n_heads, size, size)), axis=-1)


def _word_mistakes(attention, words) -> dict:
    row, column = attention[:, 0], attention[:, :, 0]

    def by(values, how):
        return np.stack([how(values[:, word]) for word in words], axis=-1)

    def mean(part):
        return part.mean(-1)

    return {
        "Rows and columns are exchanged: [CLS] looks, so it is row 0.": by(column, mean),
        "The pieces of a word were added up; the paper takes their mean.": by(row, lambda part: part.sum(-1)),
        "Only the first piece of each word is used; take the mean over its pieces.": by(row, lambda part: part[:, 0]),
        "This is the largest attention to a piece; take the mean.": by(row, lambda part: part.max(-1)),
        "The heads were averaged: keep one row for each head.": by(row, mean).mean(0),
        "The positions count from [CLS] = 0; yours are shifted by one.": by(np.roll(row, 1, axis=-1), mean),
        "The row was divided by its sum over the query words; keep the attention as it is.": by(row, mean)
        / by(row, mean).sum(-1, keepdims=True),
    }


@cls_attention.check(
    1,
    "First every word is one piece.",
    "[CLS] stands at position 0 and it is the one that looks: attention[:, 0].",
    "Pick the columns of the words: attention[:, 0, position].",
)
def one_piece_words(answer, case):
    attention = _pattern(case, *case.pick((1, 7), (2, 9), (3, 6)))
    words = case.pick([[1], [2], [3]], [[1], [2]], [[2], [1]])
    right = np.array([[head[0][word[0]] for word in words] for head in attention])
    wrong = {
        name: value
        for name, value in _word_mistakes(attention, words).items()
        if "heads" not in name or len(attention) > 1
    }
    answer.gives((attention, words), right, wrong)


@cls_attention.check(
    1,
    "Now a word has three pieces.",
    "One number for each word: the mean over its pieces.",
    "attention[:, 0, pieces].mean(axis=-1) for each word.",
)
def many_pieces(answer, case):
    attention = _pattern(case, *case.pick((2, 10), (4, 11), (3, 9)))
    words = case.pick([[1], [2, 3, 4], [5, 6]], [[1, 2], [3], [4, 5, 6, 7]], [[1, 2, 3], [4]])
    right = np.array([[sum(head[0][place] for place in word) / len(word) for word in words] for head in attention])
    answer.gives((attention, words), right, _word_mistakes(attention, words))


# --------------------------------------------------------------------------------------------------------------------
attention_by_idf = FILE.exercise("attention_by_idf", "Does [CLS] prefer rare words? Rank inside each query.", 2, 15, 2)


def _queries(case, lengths):
    rng = case.rng(2)
    idf = [rng.uniform(0.5, 9, n) for n in lengths]
    sign = case.pick(1, -1, 1)
    return [
        sign * 0.1 * values + rng.normal(0, 0.4, len(values)) ** 3 + shift
        for values, shift in zip(idf, rng.uniform(0, 3, len(lengths)), strict=True)
    ], idf


def _within(attention, idf, statistic=stats.spearmanr) -> np.ndarray:
    return np.array([statistic(a, b).statistic for a, b in zip(attention, idf, strict=True) if len(a) > 1])


def _kept(attention, idf) -> list[tuple]:
    """The queries that count: three words or more, and no side constant."""
    pairs = zip(attention, idf, strict=True)
    return [(a, b) for a, b in pairs if len(a) >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0]


def _mean_of_longer(long, values) -> float:
    longer = [value for (a, _), value in zip(long, values, strict=True) if len(a) > 3]
    return float(np.mean(longer)) if longer else np.nan


def _ordinal(long) -> float:
    """Wrong on purpose: places of a sort instead of ranks, so that ties count as different."""
    ranks = [[np.argsort(np.argsort(one)) for one in pair] for pair in long]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in ranks]))


def _rank_mistakes(attention, idf) -> dict:
    long = _kept(attention, idf)
    values = _within(*zip(*long, strict=True))
    short = len(attention) - len(long)
    return {
        "All words were thrown together. Correlate inside each query, then average.": stats.spearmanr(
            np.concatenate(attention), np.concatenate(idf)
        ).statistic,
        "The words of the longer queries were thrown together. Correlate inside each query.": stats.spearmanr(
            np.concatenate([a for a, _ in long]), np.concatenate([b for _, b in long])
        ).statistic,
        "This is Pearson; ranks (Spearman) are asked for.": _within(*zip(*long, strict=True), stats.pearsonr).mean(),
        "This is the median over queries; take the mean.": np.median(values),
        "Queries that are too short counted as 0; leave them out.": values.sum() / len(attention) if short else np.nan,
        "Queries of two words were kept. Two points always give 1 or -1: leave them out.": np.nanmean(
            _within(attention, idf)
        ),
        "Queries of three words were left out; only those of fewer than three are.": _mean_of_longer(long, values),
        "Equal values need equal ranks, the mean of their places: scipy.stats.rankdata or spearmanr.": _ordinal(long),
        "The sign was lost.": np.abs(values).mean(),
        "This is the sum over queries; take the mean.": values.sum(),
    }


def _check_ranks(answer, case, lengths) -> None:
    _check_queries(answer, *_queries(case, lengths))


def _check_queries(answer, attention, idf) -> None:
    ranks = [(stats.rankdata(a), stats.rankdata(b)) for a, b in _kept(attention, idf)]
    right = np.mean([np.corrcoef(a, b)[0, 1] for a, b in ranks])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mistakes = _rank_mistakes(attention, idf).items()
    wrong = {name: value for name, value in mistakes if abs(value - right) > 1e-3}
    answer.gives((attention, idf), float(right), wrong)


@attention_by_idf.check(
    1,
    "Every query gets a correlation of its own.",
    "Some queries get more attention from [CLS] as a whole; that must not count.",
    "np.mean([scipy.stats.spearmanr(a, b).statistic for a, b in zip(attention, idf)]).",
)
def each_query(answer, case):
    _check_ranks(answer, case, case.pick((6, 5, 7), (8, 5, 4, 7), (5, 6, 9)))


@attention_by_idf.check(
    1,
    "Some queries have one or two words.",
    "Two points lie on a line whatever they are.",
    "Leave out queries of fewer than three words.",
)
def too_short(answer, case):
    _check_ranks(answer, case, case.pick((6, 2, 3, 5, 1, 7, 2), (2, 8, 3, 5, 1, 4, 3), (1, 2, 3, 2, 6, 3, 5)))


@attention_by_idf.check(
    1,
    "Some words share a value, and in some queries all do.",
    "Equal values share the mean of their ranks. Where one side is constant there is no correlation at all.",
    "scipy.stats.spearmanr handles ties; for a constant side it gives NaN, and np.nanmean leaves that out.",
)
def ties_and_constants(answer, case):
    attention, idf = _queries(case, case.pick((5, 4, 6, 3), (4, 7, 3, 5), (6, 3, 4, 8)))
    for query, (one, other) in enumerate(zip(attention, idf, strict=True)):
        one[: 2 + (query % 2 and len(one) > 3)], other[-2:] = one[0], other[-1]
    attention.append(np.array([0.3, 0.1, 0.2, 0.25]))
    idf.append(np.array([1.0, 1.3, 1.1, 1.6]))
    _check_queries(answer, attention, idf)
    right = answer.returned
    attention, idf = [*attention, np.full(4, 0.2)], [*idf, np.array([1.0, 4.0, 2.0, 3.0])]
    answer.holds(
        distance(answer(attention, idf), right) <= 1 or distance(answer.returned, np.nan) <= 1,
        "the same as without the query in which one side is constant, or NaN",
        {"A query in which one side is constant has no correlation: it must not count as 0, 1 or anything else.": True},
    )


# --------------------------------------------------------------------------------------------------------------------
head_contribution = FILE.exercise("head_contribution", "What one head writes into the residual stream.", 3, 20, 2)


def _head_case(case):
    n_heads, d_head, positions = case.pick((3, 4, 5), (2, 3, 4), (4, 2, 6))
    rng = case.rng(3)
    return (
        rng.normal(size=(positions, n_heads * d_head)),
        rng.normal(size=(n_heads * d_head, n_heads * d_head)),
        n_heads,
        d_head,
    )


def _projected(z, weight, columns) -> np.ndarray:
    """z through W_O, all of it, with all other columns of z set to 0."""
    only = np.zeros_like(z)
    only[:, columns] = z[:, columns]
    return only @ weight.T


def _contribution_mistakes(z, weight, head, n_heads, d_head) -> dict:
    own, every = slice(head * d_head, (head + 1) * d_head), np.arange(z.shape[1])
    return {
        "W_O is transposed: a linear layer computes z @ weight.T.": z[:, own] @ weight[own],
        "The slice was cut after W_O. There the heads are mixed; cut z and the columns of the weight.": np.where(
            np.isin(every, every[own]), z @ weight.T, 0
        ),
        "This is the part of the output with the head's numbers; cut z, not the output.": (z @ weight.T)[:, own],
        "The whole z was projected: keep the head's columns only.": z @ weight.T,
        "Divided by the number of heads, every head would write the same.": z @ weight.T / n_heads,
        "The head's numbers stand side by side: columns h * d_head to (h + 1) * d_head, not every n_heads-th.": _projected(
            z, weight, every[head::n_heads]
        ),
        "This is z itself; multiply it by the head's part of W_O.": z[:, own],
        "The rows of the weight were cut: the head owns *columns* of it.": z[:, own] @ weight[own].T
        if weight[own].T.shape[0] == d_head
        else np.nan,
        "Another head was taken; heads count from 0.": _projected(
            z, weight, np.roll(every.reshape(n_heads, d_head), -1, axis=0)[head]
        ),
    }


@head_contribution.check(
    1,
    "All heads together write z @ weight.T.",
    "Sum your result over the heads and compare with that.",
    "Head h takes columns h * d_head to (h + 1) * d_head of z, and the same columns of the weight.",
)
def adds_up(answer, case):
    z, weight, n_heads, d_head = _head_case(case)
    found = [answer.array(z, weight, head, n_heads, shape=z.shape) for head in range(n_heads)]
    parts = [_contribution_mistakes(z, weight, head, n_heads, d_head) for head in range(n_heads)]
    seen = {name: np.allclose(found[-1], parts[-1][name]) for name in parts[-1] if np.shape(parts[-1][name]) == z.shape}
    answer.holds(
        np.allclose(sum(found), z @ weight.T, rtol=FLOAT32, atol=FLOAT32),
        "numbers that add up over the heads to z @ weight.T",
        seen,
    )


@head_contribution.check(
    2,
    "Set the columns of all other heads to 0 and project: what is left?",
    "z[:, columns] @ weight[:, columns].T, without the bias.",
    "columns = slice(head * d_head, (head + 1) * d_head), d_head = z.shape[1] // n_heads.",
)
def own_part(answer, case):
    z, weight, n_heads, d_head = _head_case(case)
    head = case.pick(1, 0, 2)
    right = _projected(z, weight, slice(head * d_head, (head + 1) * d_head))
    answer.gives((z, weight, head, n_heads), right, _contribution_mistakes(z, weight, head, n_heads, d_head))


# --------------------------------------------------------------------------------------------------------------------
cut_document = FILE.exercise("cut_document", "Forbid [CLS] to look at the document, before the softmax.", 3, 20, 2)


def _cut(logits, columns, value=-np.inf, rows=0) -> np.ndarray:
    edited = logits.copy()
    edited[:, rows, columns] = value
    return special.softmax(edited, axis=-1)


def _cut_mistakes(logits, span) -> dict:
    document, plain = slice(*span), special.softmax(logits, axis=-1)
    zeroed, raw = plain.copy(), logits.copy()
    zeroed[:, 0, document] = 0
    raw[:, 0, document] = -np.inf
    everywhere = logits.copy()
    everywhere[:, :, document] = -np.inf
    return {
        "The attention was set to 0 after the softmax: the row no longer adds up to 1. Cut before it.": zeroed,
        "The logit was set to 0, but e^0 = 1. Use minus infinity.": _cut(logits, document, 0),
        "Rows and columns are exchanged: [CLS] looks, so it is row 0.": _cut(logits, 0, rows=document),
        "The softmax is missing.": raw,
        "Nothing was cut.": plain,
        "The softmax runs over the wrong axis: each row must add up to 1.": special.softmax(raw, axis=-2),
        "Every row was cut. Only [CLS] may not look at the document; the query words still may.": special.softmax(
            everywhere, axis=-1
        ),
        "The last [SEP] was cut, too; the span ends before it.": _cut(logits, slice(span[0], span[1] + 1)),
        "Only the first head was cut.": np.concatenate([_cut(logits, document)[:1], plain[1:]]),
    }


def _logits(case):
    n_heads, query, document = case.pick((2, 3, 4), (3, 2, 6), (2, 4, 3))
    size = query + document + 3
    return case.rng(4).normal(0, 2, (n_heads, size, size)), (query + 2, query + 2 + document)


@cut_document.check(
    2,
    "Look at row 0 of each head: zeros at the document, and a sum of 1.",
    "A cut belongs before the softmax, so that the rest of the row shares the attention.",
    "logits[:, 0, start:stop] = -inf on a copy, then softmax over the last axis.",
)
def cls_row(answer, case):
    logits, span = _logits(case)
    got = answer.array(logits, span, shape=logits.shape)
    right = _cut(logits, slice(*span))
    answer.holds(
        np.allclose(got[:, 0], right[:, 0], atol=FLOAT32),
        "row 0 with zeros at the document and a sum of 1",
        {name: np.allclose(got[:, 0], wrong[:, 0], atol=1e-7) for name, wrong in _cut_mistakes(logits, span).items()},
    )


@cut_document.check(
    1,
    "And the other rows?",
    "The query words must still read the document: that is where the matches are.",
    "All rows but row 0 are the plain softmax.",
)
def other_rows(answer, case):
    logits, span = _logits(case)
    answer.gives((logits, span), _cut(logits, slice(*span)), _cut_mistakes(logits, span))
