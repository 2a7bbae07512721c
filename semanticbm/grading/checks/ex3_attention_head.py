"""Checks for chapter 3. Oracle: BM25's TF factor, written without any exponential."""

from __future__ import annotations

import numpy as np

from semanticbm.grading.answer import FLOAT32, as_array
from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(3)


def _settings(case) -> tuple[float, float, float]:
    """k1, b, avgdl."""
    return case.pick((1.2, 0.75, 80.0), (0.9137, 0.4128, 30.0), (2.0456, 0.95123, 9.5))


# --------------------------------------------------------------------------------------------------------------------
match_share = FILE.exercise("match_share", "The share of attention that falls on the copies of a word.", 1, 10, 1)


def _share_mistakes(tf, length, beta, sink) -> dict:
    match, others, rest = tf * np.exp(beta), length - tf, np.exp(sink)
    return {
        "The copies compete, too: their weight belongs below the line as well.": match / (others + rest),
        "The sink is missing below the line.": match / (match + others),
        "The other words are |d| - tf; the copies were counted twice.": match / (match + length + rest),
        "The sink's logit s was not exponentiated.": match / (match + others + sink),
        "beta was not exponentiated: a copy weighs e^beta.": tf * beta / (tf * beta + others + rest),
        "Only one copy is above the line: there are tf of them.": np.exp(beta) / (match + others + rest),
    }


@match_share.check(
    1,
    "The share is a part of the whole: it cannot exceed 1, and it is 0 without a copy.",
    "Everything above the line must stand below it, too.",
    "Below the line: tf e^beta for the copies, |d| - tf for the others, e^s for the sink.",
)
def is_a_share(answer, case):
    length, beta, sink = case.pick((20, 3.0, 1.0), (9, 2.0, 0.5), (60, 4.0, 2.0))
    shares = [answer.number(tf, length, beta, sink) for tf in (0, 2, 8)]
    mistakes = _share_mistakes(8, length, beta, sink)
    answer.holds(
        shares[0] == 0 and shares[0] < shares[1] < shares[2] < 1,
        "a number between 0 and 1 that grows with tf",
        {name: bool(np.isclose(shares[2], value)) for name, value in mistakes.items()},
    )


@match_share.check(
    1,
    "Work out the three weights for one example by hand.",
    "The logits are beta for a copy, 0 for another word, s for the sink. e^0 is 1.",
    "match_share(2, 80, ln 89.9, ln 26.7) = 179.8 / (179.8 + 78 + 26.7) = 0.632.",
)
def value(answer, case):
    args, expected = case.pick(
        ((2, 10, 2.5, 1.5), 0.661253331660), ((1, 50, 4.0, 2.0), 0.491931925633), ((4, 9, 1.0, 0.5), 0.620546813961)
    )
    answer.gives(args, expected, _share_mistakes(*args), tolerance=1e-7)


# --------------------------------------------------------------------------------------------------------------------
logits_for = FILE.exercise("logits_for", "From BM25's k1 and b to the two logits of an attention head.", 3, 20, 2)


@logits_for.check(
    1,
    "How much must a copy stand out so that one copy gives what BM25 gives?",
    "Compare the two fractions of the chapter: 1 + avgdl / (k1 b) is the weight of a copy.",
    "The logit is the logarithm of the weight: beta = ln(1 + avgdl / (k1 b)).",
)
def beta(answer, case):
    k1, b, avgdl = _settings(case)
    got = answer.parts(k1, b, avgdl, names=("beta", "sink"))[0]
    answer.part(
        got,
        np.log1p(avgdl / (k1 * b)),
        "beta",
        {
            "The 1 inside the logarithm is missing.": np.log(avgdl / (k1 * b)),
            "This is the weight of a copy; the logit is its logarithm.": 1 + avgdl / (k1 * b),
            "b is missing in beta.": np.log(1 + avgdl / k1),
            "k1 is missing in beta.": np.log(1 + avgdl / b),
            "k1 and b are multiplied by avgdl instead of dividing it.": np.log(1 + avgdl * k1 * b),
            "The two logits stand in the wrong order: beta comes first.": np.log(avgdl * (1 - b) / b),
        },
    )


@logits_for.check(
    1,
    "The sink stands for the part of the competition that is not document.",
    "With a small b the length should not matter: the sink must be heavy.",
    "sink = ln(avgdl (1 - b) / b).",
)
def sink(answer, case):
    k1, b, avgdl = _settings(case)
    got = answer.parts(k1, b, avgdl, names=("beta", "sink"))[1]
    answer.part(
        got,
        np.log(avgdl * (1 - b) / b),
        "sink",
        {
            "The fraction is upside down: a small b needs a heavy sink.": np.log(avgdl * b / (1 - b)),
            "avgdl is missing in the sink.": np.log((1 - b) / b),
            "This is the weight of the sink; the logit is its logarithm.": avgdl * (1 - b) / b,
            "1 - b is missing above the line.": np.log(avgdl / b),
            "The sink does not depend on k1.": np.log(avgdl * (1 - b) / (k1 * b)),
            "b is missing below the line.": np.log(avgdl * (1 - b)),
            "The sink's logit may be below 0: keep its sign.": np.abs(np.log(avgdl * (1 - b) / b)),
        },
    )


@logits_for.check(
    1,
    "What becomes of the sink at b = 1?",
    "At b = 1 all competition is document: the sink weighs 0.",
    "The logarithm of 0 is minus infinity: return -inf for the sink, without an error.",
)
def b_is_one(answer, case):
    k1, _, avgdl = _settings(case)
    beta, sink = answer.parts(k1, 1.0, avgdl, names=("beta", "sink"))
    answer.part(
        sink,
        -np.inf,
        "sink",
        {
            "A logit of 0 still has weight e^0 = 1. The sink must weigh nothing.": 0,
            "The sign is wrong: an infinite logit takes all attention.": np.inf,
            "This is the formula for b below 1; at b = 1 the logarithm of 0 is minus infinity.": np.nan,
        },
    )
    answer.part(beta, np.log1p(avgdl / k1), "beta")


# --------------------------------------------------------------------------------------------------------------------
read_k1_b = FILE.exercise(
    "read_k1_b", "The way back: from two logits to the k1 and b that a head behaves like.", 2, 15, 2
)


def _logits(case):
    k1, b, avgdl = case.pick((1.2345, 0.6789, 80.0), (0.9137, 0.4128, 30.0), (2.0456, 0.95123, 9.5))
    return np.log1p(avgdl / (k1 * b)), np.log(avgdl * (1 - b) / b), avgdl, k1, b


@read_k1_b.check(
    1,
    "Solve the equation of the sink for b first.",
    "e^s = avgdl (1 - b) / b. Multiply by b.",
    "b = avgdl / (avgdl + e^s).",
)
def reads_b(answer, case):
    beta, sink, avgdl, _, right = _logits(case)
    got = answer.parts(beta, sink, avgdl, names=("k1", "b"))[1]
    answer.part(
        got,
        right,
        "b",
        {
            "This is 1 - b: the document's part goes above the line.": 1 - right,
            "s was not exponentiated.": avgdl / (avgdl + sink),
            "This comes from beta; b is read off the sink.": avgdl / (avgdl + np.exp(beta)),
            "k1 and b stand in the wrong order: return (k1, b).": avgdl / (right * np.expm1(beta)),
        },
    )


@read_k1_b.check(
    1,
    "Now that b is known, solve the equation of beta for k1.",
    "e^beta = 1 + avgdl / (k1 b).",
    "k1 = avgdl / (b (e^beta - 1)).",
)
def reads_k1(answer, case):
    beta, sink, avgdl, right, b = _logits(case)
    got = answer.parts(beta, sink, avgdl, names=("k1", "b"))[0]
    answer.part(
        got,
        right,
        "k1",
        {
            "The 1 is missing: it is e^beta - 1.": avgdl / (b * np.exp(beta)),
            "b is missing below the line.": right * b,
            "beta was not exponentiated.": avgdl / (b * beta),
            "beta was not exponentiated: e^beta - 1, not beta - 1.": avgdl / (b * (beta - 1)),
            "The fraction is upside down.": 1 / right,
        },
    )


# --------------------------------------------------------------------------------------------------------------------
attention_row = FILE.exercise(
    "attention_row", "One row of an attention head that computes BM25 with a given k1 and b.", 3, 30, 4
)


def _weights(query_id, document, k1, b, avgdl) -> np.ndarray:
    """e^logit of the sink and of each document token, from BM25's own terms."""
    return np.array([avgdl * (1 - b) / b, *(1 + avgdl / (k1 * b) * (token == query_id) for token in document)])


def _row(query_id, document, k1, b, avgdl) -> np.ndarray:
    """The row without exponentials."""
    weights = _weights(query_id, document, k1, b, avgdl)
    return weights / weights.sum()


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _document(case) -> tuple[int, list[int]]:
    document = list(map(int, case.rng(3).integers(5, 12, case.pick(8, 12, 6))))
    return document[2], document


def _documents(case) -> list[tuple[int, list[int]]]:
    """(query id, document): some copies, no copy, nothing but copies."""
    query_id, document = _document(case)
    return [(query_id, document), (99, document[:4]), case.pick((6, [6, 6]), (0, [0, 3, 0]), (8, [8]))]


@attention_row.check(
    1,
    "A row of attention adds up to 1.",
    "The row has one number for the sink, then one for each document token.",
    "Logits: s for the sink, beta for a token equal to the query's, 0 for another; then softmax.",
)
def is_a_distribution(answer, case):
    query_id, document = _document(case)
    k1, b, avgdl = _settings(case)
    row = as_array(answer(query_id, document, k1, b, avgdl))
    size = 0 if row is None else row.size
    answer.holds(
        size == len(document) + 1 and row.ndim == 1,
        f"{len(document) + 1} numbers",
        {"The sink is missing: it comes first.": size == len(document), "The function returned nothing.": size == 0},
    )
    answer.holds(
        bool((row >= 0).all()) and abs(row.sum() - 1) < FLOAT32,
        "numbers from 0 to 1 that add up to 1",
        {
            "These are logits: take the softmax.": bool((row == 0).any() or (row < 0).any()),
            "These are e^logit: divide by their sum.": bool(row.sum() > 1.5),
        },
    )


@attention_row.check(
    3,
    "Multiply the mass on the copies by (k1 + 1)(1 - e^-beta) and compare with the TF factor.",
    "Check each logit against exercise 3.2; the sink is the first number of the row.",
    "With k1 = 1.2, b = 0.75, avgdl = 80, a copy weighs 89.9, another word 1, the sink 26.7.",
)
def is_bm25(answer, case):
    k1, b, avgdl = _settings(case)
    _check_row(answer, *_document(case), k1, b, avgdl)


@attention_row.check(
    1,
    "Two documents at the edge: one without a copy, one with nothing but copies.",
    "Without a copy the sink still weighs what it weighs, and each word weighs e^0 = 1: the row is not uniform.",
)
def edges(answer, case):
    k1, b, avgdl = _settings(case)
    for query_id, document in _documents(case)[1:]:
        _check_row(answer, query_id, document, k1, b, avgdl)


def _check_row(answer, query_id, document, k1, b, avgdl) -> None:
    right, weights = _row(query_id, document, k1, b, avgdl), _weights(query_id, document, k1, b, avgdl)
    is_other = np.r_[False, [token != query_id for token in document]]
    flat = np.exp(np.r_[1.0, [float(token == query_id) for token in document]])
    mistakes = {
        "The sink stands last: it comes first, like [CLS].": np.r_[right[1:], right[0]],
        "k1 and b are exchanged.": _row(query_id, document, b, k1, avgdl),
        "Weights were taken for logits. The logit is the logarithm of a weight: the softmax of ln w is w / sum(w).": (
            _softmax(weights)
        ),
        "This is a softmax of a softmax: the shares of the weights are the attention already.": _softmax(right),
        "Another word has weight 1, so its logit is 0, not 1.": _softmax(np.log(weights) + is_other),
        "The sink has no weight; its logit is ln(avgdl (1 - b) / b).": np.r_[0, right[1:]] / right[1:].sum(),
        "The sink has logit 0, like another word.": _with_sink(right, 1.0),
        "The row is uniform, but the sink weighs more than a word.": np.full(len(right), 1 / len(right)),
        "The weights do not depend on k1 and b: set the logits from them.": flat / flat.sum(),
        "avgdl is the mean length of all documents, not the length of this one.": _row(
            query_id, document, k1, b, float(len(document))
        ),
        "The token itself is compared with the wrong side: others got the logit of a copy.": _opposite(
            query_id, document, k1, b, avgdl
        ),
    }
    wrong = {name: value for name, value in mistakes.items() if not np.allclose(value, right)}
    answer.gives((query_id, document, k1, b, avgdl), right, wrong, tolerance=1e-7)


def _with_sink(row: np.ndarray, weight: float) -> np.ndarray:
    weights = np.r_[weight * row[1:].min(), row[1:]]
    return weights / weights.sum()


def _opposite(query_id, document, k1, b, avgdl) -> np.ndarray:
    weights = np.array([avgdl * (1 - b) / b, *(1 + avgdl / (k1 * b) * (token != query_id) for token in document)])
    return weights / weights.sum()


# --------------------------------------------------------------------------------------------------------------------
scoring_head = FILE.exercise("scoring_head", "A second head adds up IDF times soft TF at [CLS].", 3, 20, 2)


def _scoring_case(case):
    rng = case.rng(7)
    n = case.pick(3, 5, 2)
    return rng.uniform(0.3, 5, n).round(2), rng.uniform(0, 1, n).round(2)


def _scoring_mistakes(idf, share, sink) -> dict:
    soft = np.exp(idf) / (np.exp(idf).sum() + np.exp(sink))
    return {
        "The logits are idf; they must be ln idf, so that the weights are idf.": float(soft @ share),
        "The words were averaged without the IDF.": float(share.mean()),
        "This is the sum; attention divides by the sum of all weights.": float(idf @ share),
        "The sink has no weight: its e^s belongs below the line.": float(idf @ share / idf.sum()),
        "The sink's logit was not exponentiated.": float(idf @ share / (idf.sum() + sink)),
        "The sink carries no value: it must not add to the sum.": float(
            (idf @ share + np.exp(sink)) / (idf.sum() + np.exp(sink))
        ),
        "The IDF appears squared: the weights already hold it.": float(idf**2 @ share / (idf.sum() + np.exp(sink))),
    }


@scoring_head.check(
    1,
    "First with a sink so light that it does not count.",
    "The weights are e^(ln idf) = idf, divided by their sum.",
    "The result is sum(idf * share) / (sum(idf) + e^sink).",
)
def light_sink(answer, case):
    idf, share = _scoring_case(case)
    answer.gives(
        (idf, share, -40.0),
        float(np.average(share, weights=idf)),
        _scoring_mistakes(idf, share, -40.0) | {"The sink has no weight: its e^s belongs below the line.": np.nan},
        tolerance=1e-7,
    )


@scoring_head.check(
    2,
    "Now the sink counts. It takes attention and gives nothing.",
    "e^sink goes below the line, nothing above it.",
    "For idf [2, 1], share [0.5, 1] and sink ln 7: 2 / (3 + 7) = 0.2.",
)
def heavy_sink(answer, case):
    idf, share = _scoring_case(case)
    sink = case.pick(2.0, 0.7, 3.1)
    expected = np.average([*share, 0], weights=[*idf, np.exp(sink)])
    answer.gives((idf, share, sink), float(expected), _scoring_mistakes(idf, share, sink), tolerance=1e-7)


# --------------------------------------------------------------------------------------------------------------------
soft_match = FILE.exercise(
    "soft_match", "A synonym counts as a part of an occurrence: its logit, and how it is read.", 3, 15, 2
)


def _soft_cases(case):
    return case.pick(((0.5, 2.0), (0.0, 3.0)), ((0.25, 1.2), (1.0, 2.5)), ((0.8, 4.1), (0.1, 0.7)))


@soft_match.check(
    1,
    "At g = 0 the logit must be 0, that of another word; at g = 1 it must be beta.",
    "Logits do not mix, weights do: e^logit lies at g between 1 and e^beta.",
    "logit = ln(1 + g (e^beta - 1)).",
)
def logit(answer, case):
    for g, beta in _soft_cases(case):
        got = answer.parts(g, beta, names=("logit", "read"))[0]
        right = np.log(1 - g + g * np.exp(beta))
        mistakes = {
            "The logit is not g times beta: it is the weights e^logit that are mixed.": g * beta,
            "The 1 is missing: it is e^beta - 1.": np.log(1 + g * np.exp(beta)),
            "This is the weight of the synonym; its logit is the logarithm.": 1 - g + g * np.exp(beta),
            "beta was not exponentiated.": np.log(1 + g * beta),
            "The logit comes first, then the weight of the reading.": g * np.exp(beta - right),
        }
        answer.part(got, right, "logit", {name: one for name, one in mistakes.items() if abs(one - right) > 1e-3})


@soft_match.check(
    1,
    "A synonym attracts too much attention for what it is worth. By how much must the reading be turned down?",
    "The mass e^logit, times the weight of the reading, must be g e^beta: g copies.",
    "read = g e^beta / e^logit.",
)
def read(answer, case):
    for g, beta in _soft_cases(case):
        got = answer.parts(g, beta, names=("logit", "read"))[1]
        mass = 1 - g + g * np.exp(beta)
        right = g * np.exp(beta) / mass
        mistakes = {
            "This is g itself; the mass of the synonym is not that of a copy.": g,
            "g is missing above the line.": np.exp(beta) / mass,
            "The fraction is upside down.": mass / (g * np.exp(beta)) if g else np.nan,
            "e^beta is missing above the line.": g / mass,
        }
        wrong = {name: one for name, one in mistakes.items() if np.isnan(one) or abs(one - right) > 1e-3}
        answer.part(got, right, "read", wrong)
