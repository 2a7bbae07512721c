"""Checks for chapter 1. Oracles: numbers computed by hand, and rank-bm25."""

from __future__ import annotations

import numpy as np
from rank_bm25 import BM25Okapi

from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(1)

# --------------------------------------------------------------------------------------------------------------------
idf = FILE.exercise("idf", "Write Lucene's IDF: rare words weigh more, and no word weighs less than 0.", 1, 5, 1)


@idf.check(
    1,
    "Think of a word in one document and of a word in every second document. Which one tells you more?",
    "Inside the logarithm, the documents *without* the word go above the line, those *with* it below.",
    "For N = 10 and n = 1 the fraction is 9.5 / 1.5.",
)
def rare_beats_common(answer, case):
    n_documents = case.pick(20, 50, 12)
    common = answer.number(n_documents, n_documents // 2)
    rare = answer.number(n_documents, 1)
    answer.holds(
        rare > common,
        f"more than {common:.4f}, the IDF of a word in {n_documents // 2} documents",
        {
            "The two numbers look exchanged: first comes N, the number of all documents, then n.": bool(
                np.isclose(rare, np.log(1 + (1 - n_documents + 0.5) / (n_documents + 0.5)))
            ),
            "The fraction is upside down: the documents *without* the word go above the line.": bool(
                np.isclose(rare, np.log(1 + 1.5 / (n_documents - 1 + 0.5)))
                or np.isclose(rare, np.log(1.5 / (n_documents - 0.5)))
            ),
            "Every word gets the same weight: use the document frequency.": rare == common,
            "A rare word gets less than a common one; it must be the other way round.": rare < common,
        },
    )


@idf.check(
    1,
    "Compare with the formula in the docstring, sign by sign.",
    "It is the natural logarithm of 1 plus a fraction; 0.5 is added above and below the line.",
    "idf(10, 5) = ln(1 + 5.5 / 5.5) = ln 2 = 0.6931.",
)
def value(answer, case):
    for n_documents, n, expected in case.pick(
        ((10, 4, 0.8938178760220965), (7, 7, 0.06453852113757118), (99, 1, 4.199705077879927)),
        ((17, 3, 1.6376087894007967), (5, 0, 2.4849066497880004)),
        ((40, 33, 0.20202662787328704), (1, 1, 0.28768207245178085), (5999, 0, 9.392661928770137)),
    ):
        with np.errstate(divide="ignore"):
            older = np.log(np.divide(n_documents, n))
            no_half = np.log(1 + np.divide(n_documents - n, n))
        answer.gives(
            (n_documents, n),
            expected,
            {
                "The 1 inside the logarithm is missing: this is Robertson's IDF, which turns negative.": np.log(
                    (n_documents - n + 0.5) / (n + 0.5)
                ),
                "This is the logarithm to base 2; the book uses the natural logarithm.": expected / np.log(2),
                "This is the logarithm to base 10; the book uses the natural logarithm.": expected / np.log(10),
                "The two 0.5 are missing.": no_half,
                "This is ln(N / n), an older IDF. Use the formula in the docstring.": older,
            },
        )


# --------------------------------------------------------------------------------------------------------------------
mended_idf = FILE.exercise(
    "mended_idf", "Write Robertson's IDF and mend its negative values as rank-bm25 does.", 2, 10, 1
)


def _okapi_idf(frequencies, n_documents: int, epsilon: float) -> np.ndarray:
    """rank-bm25's own values, from a collection where word i stands in frequencies[i] documents."""
    documents = [[f"w{i}" for i, n in enumerate(frequencies) if number < n] for number in range(n_documents)]
    okapi = BM25Okapi(documents, epsilon=epsilon)
    return np.array([okapi.idf[f"w{i}"] for i in range(len(frequencies))])


@mended_idf.check(
    1,
    "First leave out the mending: no word here is in more than half of the documents.",
    "Robertson's formula has no 1 inside the logarithm.",
    "For N = 10 and n = 3: ln(7.5 / 3.5) = 0.7621.",
)
def robertson(answer, case):
    frequencies, n_documents = case.pick(([1, 2, 4], 12), ([1, 3, 5, 5], 14), ([2, 3], 9))
    frequencies = np.array(frequencies)
    n = frequencies + 0.5
    answer.gives(
        (frequencies, n_documents),
        _okapi_idf(frequencies, n_documents, 0.25),
        {
            "This is Lucene's IDF: leave out the 1 inside the logarithm.": np.log1p(
                (n_documents - frequencies + 0.5) / n
            ),
            "The fraction is upside down.": np.log(n / (n_documents - frequencies + 0.5)),
            "This is ln(N / n): take the documents *without* the word above the line.": np.log(
                n_documents / frequencies
            ),
        },
    )


@mended_idf.check(
    1,
    "Look at the words in more than half of the documents.",
    "A negative value is replaced by epsilon times a mean. Over which words is the mean taken?",
    "The mean runs over all words, the negative values included, before anything is replaced.",
)
def mended(answer, case):
    frequencies, n_documents, epsilon = case.pick(
        ([1, 2, 9, 3], 12, 0.25), ([11, 1, 7, 2, 2], 13, 0.5), ([1, 10, 1], 12, 0.1)
    )
    _check_mended(answer, frequencies, n_documents, epsilon)


def _check_mended(answer, frequencies, n_documents, *epsilon) -> None:
    """`epsilon` is left out where the answer's default must do."""
    frequencies, weight = np.array(frequencies), epsilon[0] if epsilon else 0.25
    raw = np.log((n_documents - frequencies + 0.5) / (frequencies + 0.5))

    def put(filler):
        return np.where(raw < 0, filler, raw)

    mistakes = {
        "Negative values are still there.": raw,
        "Negative values became 0. rank-bm25 puts epsilon times the mean there.": put(0),
        "The mean leaves out the negative values; it must include them.": put(
            weight * raw[raw >= 0].sum() / max((raw >= 0).sum(), 1)
        ),
        "Negative values became epsilon itself; multiply it by the mean IDF.": put(weight),
        "That is the whole mean: multiply it by epsilon.": put(raw.mean()),
        "epsilon times the sum is not epsilon times the mean.": put(weight * raw.sum()),
        "Negative values lost their sign. They must be replaced.": np.abs(raw),
        "The mean may be negative, too: epsilon times the mean keeps its sign.": put(weight * np.abs(raw.mean())),
        "A value of exactly 0 is not negative: it stays 0.": np.where(raw <= 0, weight * raw.mean(), raw),
    }
    right = _okapi_idf(frequencies, n_documents, weight)
    wrong = {name: value for name, value in mistakes.items() if not np.allclose(value, right)}
    answer.gives((frequencies, n_documents, *epsilon), right, wrong)


@mended_idf.check(
    1,
    "Two cases at the edge: a word in exactly half of the documents, and words that are nearly all common.",
    "0 is not negative. And where most words are common, the mean is negative: so is what replaces them.",
    "Call it without epsilon: its default is 0.25. mended_idf(np.array([1, 2, 4]), 4) = [0.8473, 0.0, -0.1125].",
)
def edges(answer, case):
    for frequencies, n_documents in case.pick(
        (([2, 1, 3, 4], 4), ([5, 6, 1, 6], 6)), (([3, 6, 6, 1], 6), ([9, 9, 8], 9)), (([4, 7, 1], 8), ([1, 5, 5], 5))
    ):
        _check_mended(answer, frequencies, n_documents)


# --------------------------------------------------------------------------------------------------------------------
tf_factor = FILE.exercise(
    "tf_factor", "Write BM25's TF factor: saturation and length normalisation in one line.", 1, 10, 1
)


@tf_factor.check(
    1,
    "Nothing for no occurrence, then more for each further one, but less and less.",
    "Is tf below the line, too? That is what makes the factor level off.",
    "With the usual k1 and a document of mean length: 0, 1, 1.375, ... and never 2.2.",
)
def saturates(answer, case):
    avgdl = case.pick(80.0, 12.0, 300.0)
    values = [answer.number(tf, avgdl, avgdl) for tf in (0, 1, 2, 3)]
    steps = np.diff(values)
    answer.holds(
        values[0] == 0 and (steps > 0).all() and (np.diff(steps) < 0).all(),
        "0 for no occurrence, and a smaller step for each further one",
        {
            "Each occurrence adds the same: tf is missing below the line.": bool(np.allclose(np.diff(steps), 0)),
            "A word that does not occur must be worth 0.": values[0] != 0,
            "The value falls when the word occurs more often: is the fraction upside down?": bool((steps < 0).any()),
        },
    )


@tf_factor.check(
    1,
    "Compare with the formula term by term, with a document that is not of mean length.",
    "The length enters as |d| / avgdl, weighted by b; the rest of the bracket is 1 - b.",
    "tf_factor(2, 100, 80) = 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 1.25)) = 1.2847.",
)
def value_(answer, case):
    args, expected = case.pick(
        ((3, 100, 80, 1.2, 0.75), 1.49152542373),
        ((2, 30, 90, 0.9, 0.4), 1.428571428571),
        ((5, 10, 7, 2.0, 0.3), 2.066929133858),
    )
    answer.gives(args, expected, _factor_mistakes(*args), tolerance=1e-8)


def _factor_mistakes(tf, length, avgdl, k1=1.2, b=0.75) -> dict:
    def factor(k1, b, ratio):
        return tf * (k1 + 1) / (tf + k1 * (1 - b + b * ratio))

    return {
        "The document's length makes no difference: b |d| / avgdl is missing.": factor(k1, 0, 1),
        "k1 and b are exchanged.": factor(b, k1, length / avgdl),
        "The ratio is upside down: it is |d| / avgdl, not avgdl / |d|.": factor(k1, b, avgdl / length),
        "The factor k1 + 1 above the line is missing.": factor(k1, b, length / avgdl) / (k1 + 1),
        "1 - b is missing: at b = 0 the bracket must be 1.": tf * (k1 + 1) / (tf + k1 * b * length / avgdl),
        "b is not used: the bracket is 1 - b + b |d| / avgdl.": factor(k1, 1, length / avgdl),
        "tf was cut to a whole number: a soft count such as 2.5 is a count, too.": (int(tf) or tf)
        * (k1 + 1)
        / (int(tf) + k1 * (1 - b + b * length / avgdl)),
    }


@tf_factor.check(
    1,
    "Call it without k1 and b: they have defaults. And tf need not be a whole number.",
    "def tf_factor(tf, length, avgdl, k1=1.2, b=0.75).",
    "tf_factor(2.5, 60, 80) = 2.5 * 2.2 / (2.5 + 1.2 * 0.8125) = 1.5827.",
)
def defaults(answer, case):
    for args, expected in case.pick(
        (((2.5, 60, 80), 1.582733812950), ((1, 20, 10), 0.709677419355)),
        (((0.5, 30, 40), 0.745762711864), ((3, 50, 40), 1.491525423729)),
        (((1.5, 12, 8), 1.047619047619), ((2, 9, 12), 1.478991596639)),
    ):
        answer.gives(args, expected, _factor_mistakes(*args), tolerance=1e-8)


# --------------------------------------------------------------------------------------------------------------------
bm25 = FILE.exercise("bm25", "Score every document for a query with BM25.", 2, 20, 2)

WORDS = ["river", "bank", "money", "water", "loan", "tree", "stone", "fish"]
LONGER = ["banks", "rivers", "loans", "trees"]  # words that hold another word


def _collection(case):
    rng = case.rng(4)
    documents = [[str(word) for word in rng.choice(WORDS, rng.integers(3, 9))] for _ in range(case.pick(6, 9, 5))]
    documents[0] += ["bank", "bank", "river"]
    documents[1] += [*LONGER, "zebra"]
    return documents, {word: round(float(rng.uniform(0.3, 3)), 3) for word in WORDS + LONGER}


def _okapi(query, documents, weights, k1, b, avgdl=None) -> np.ndarray:
    """BM25 by rank-bm25, with the given IDF values."""
    okapi = BM25Okapi(documents, k1=k1, b=b)
    okapi.idf, okapi.avgdl = dict(weights), avgdl or okapi.avgdl
    return okapi.get_scores(query)


def _present(query, documents, weights, k1, b) -> np.ndarray:
    """Wrong on purpose: a word counts once, however often it occurs."""
    avgdl = np.mean([len(document) for document in documents])
    return np.array(
        [
            sum(
                weights[word] * (word in document) * (k1 + 1) / (1 + k1 * (1 - b + b * len(document) / avgdl))
                for word in query
            )
            for document in documents
        ]
    )


@bm25.check(
    1,
    "Start with a query of one word. Print tf, |d| and avgdl for the first document.",
    "avgdl is the mean number of words of all documents, repeated words included.",
    "The score is idf[word] times the TF factor of exercise 1.3 with tf = document.count(word).",
)
def one_word(answer, case):
    documents, weights = _collection(case)
    k1, b = case.pick((1.2, 0.75), (0.8, 0.5), (2.0, 0.9))
    distinct = float(np.mean([len(set(document)) for document in documents]))
    tokens = [word for document in documents for word in document]
    answer.gives(
        (["bank"], documents, weights, k1, b),
        _okapi(["bank"], documents, weights, k1, b),
        {
            "The IDF is missing: multiply by idf[word].": _okapi(["bank"], documents, dict.fromkeys(WORDS, 1.0), k1, b),
            "A word that occurs twice counts like one that occurs once: use the count.": _present(
                ["bank"], documents, weights, k1, b
            ),
            "avgdl counts each word once; count every occurrence.": _okapi(
                ["bank"], documents, weights, k1, b, distinct
            ),
            "avgdl is the total number of words; divide by the number of documents.": _okapi(
                ["bank"], documents, weights, k1, b, float(len(tokens))
            ),
            "The document's length is not used.": _okapi(["bank"], documents, weights, k1, 0),
            "k1 + 1 is missing.": _okapi(["bank"], documents, weights, k1, b) / (k1 + 1),
            'Words are compared as a whole: "bank" does not occur in "banks".': lambda: _okapi(
                ["bank"], [[word.replace("banks", "bank") for word in one] for one in documents], weights, k1, b
            ),
        },
    )


@bm25.check(
    2,
    "Now the query has five words: one stands there twice, two have no IDF.",
    "Add up over the words of the query as they stand there.",
    "A word that stands twice in the query counts twice; a word without an IDF counts 0.",
)
def all_words(answer, case):
    documents, weights = _collection(case)
    query = ["bank", "zebra", case.pick("river", "loan", "tree"), "bank", "yak"]
    k1, b = case.pick((1.2, 0.75), (2.2, 0.3), (0.7, 1.0))

    def score(words):
        return _okapi(words, documents, weights, k1, b)

    answer.gives(
        (query, documents, weights, k1, b),
        score(query),
        {
            "The words after one without an IDF are not scored: go on with the next (`continue`, not `break`).": score(
                query[:1]
            ),
            "A word without an IDF must count 0, also where a document has it.": lambda: _okapi(
                query, documents, weights | {"zebra": 1.0}, k1, b
            ),
            "A word that stands twice in the query must count twice.": score(list(dict.fromkeys(query))),
            "Only the first query word is scored.": score(query[:1]),
            "Only the best query word counts: add them up.": lambda: np.max([score([word]) for word in query], axis=0),
            "That is the mean over the query words: add them up.": score(query) / len(query),
            "That is the product over the query words: add them up.": lambda: np.prod(
                [score([word]) for word in query if word in weights], axis=0
            ),
        },
    )


# --------------------------------------------------------------------------------------------------------------------
ndcg = FILE.exercise("ndcg", "Measure a ranking: grades count less the lower they stand.", 2, 15, 2)


def _dcg(grades, discount) -> float:
    return sum(grade / discount(rank) for rank, grade in enumerate(grades, start=1))


def _ndcg(grades, depth, discount=lambda rank: np.log2(rank + 1), best=None, gain=lambda grade: grade) -> float:
    """nDCG written as a loop, with switches for the usual mistakes."""
    grades = [gain(grade) for grade in grades]
    best = sorted(grades, reverse=True) if best is None else best
    full = _dcg(best[:depth], discount)
    return _dcg(grades[:depth], discount) / full if full else 0.0


def _check_ndcg(answer, grades, depth) -> None:
    right = _ndcg(grades, depth)
    mistakes = {
        "The sum is not divided by that of the best possible order.": _dcg(grades[:depth], lambda r: np.log2(r + 1)),
        "The discount is log2(rank + 1) with ranks from 1; yours is the rank.": _ndcg(grades, depth, lambda r: r),
        "Ranks count from 1: the first document is divided by log2(2) = 1.": _ndcg(
            grades, depth, lambda r: np.log2(r + 2)
        ),
        "Only the first `depth` ranks count.": _ndcg(grades, None),
        "The best order is that of *all* grades, also of those below the depth.": _ndcg(
            grades, depth, best=sorted(grades[:depth], reverse=True)
        ),
        "Grades count as they are here, not as 2^grade - 1.": _ndcg(grades, depth, gain=lambda grade: 2**grade - 1),
        "Nothing is discounted.": _ndcg(grades, depth, lambda r: 1),
        "A ranking without a good document is worth 0.": np.nan,
    }
    wrong = {name: value for name, value in mistakes.items() if np.isnan(value) or abs(value - right) > 1e-3}
    answer.gives((grades, depth), right, wrong)


@ndcg.check(
    1,
    "First the whole ranking counts. What is the best that these grades could give?",
    "Divide the sum by that of the grades sorted from high to low.",
    "sum(grade / np.log2(rank + 1) for rank, grade in enumerate(grades, start=1)).",
)
def in_order(answer, case):
    _check_ndcg(answer, case.pick([0, 3, 1, 2], [1, 0, 2], [2, 0, 0, 1, 3]), 10)


@ndcg.check(
    1,
    "Now the ranking is longer than the depth, and one has no good document at all.",
    "Cut both sums at the depth: the ranking, and all grades sorted. Without a grade above 0 the value is 0.",
    "ndcg([0, 1, 2], 2) = (1 / log2(3)) / (2 + 1 / log2(3)) = 0.2398.",
)
def at_a_depth(answer, case):
    for grades, depth in case.pick(
        (([0, 1, 2, 3], 2), ([0, 0], 5), ([0, 1], 4)),
        (([1, 0, 0, 2, 3], 3), ([0, 0, 2], 2), ([0], 3)),
        (([2, 1, 3], 1), ([0, 0, 0], 2), ([1, 2, 0, 3], 3)),
    ):
        _check_ndcg(answer, grades, depth)
