"""Checks for chapter 5. Oracles: sums over positions written as loops, scikit-learn's AUC."""

from __future__ import annotations

import numpy as np

from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(5)

# --------------------------------------------------------------------------------------------------------------------
matching_score = FILE.exercise("matching_score", "A query token's matching score, from raw attention.", 2, 20, 2)


def _attention(case, n_layers: int, n_heads: int, query: int, document: int):
    """Random attention [layer, head, position, position], rows that add up to 1, and the two spans."""
    size = query + document + 3
    logits = case.rng(1).normal(0, 2, (n_layers, n_heads, size, size))
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True), (1, 1 + query), (2 + query, 2 + query + document)


def _score_mistakes(attention, query, document) -> dict:
    rows = attention[:, :, query[0] : query[1]]
    right = rows[..., document[0] : document[1]].sum(-1)
    return {
        "Rows and columns are exchanged: row i is the token that looks, column j the one looked at.": attention[
            :, :, document[0] : document[1], query[0] : query[1]
        ].sum(-2),
        "The last [SEP] is included: the document span ends before it.": rows[..., document[0] : document[1] + 1].sum(
            -1
        ),
        "The [SEP] before the document is included.": rows[..., document[0] - 1 : document[1]].sum(-1),
        "This is the mean over the document; the matching score is the sum.": right / (document[1] - document[0]),
        "The heads were averaged: keep the axes layer and head.": right.mean(1),
        "This adds up over the query tokens; keep one number for each.": right.sum(-1),
        "This looks at the query side of [SEP], not at the document.": rows[..., query[0] : query[1]].sum(-1),
        "This is the largest attention; the matching score is the sum.": rows[..., document[0] : document[1]].max(-1),
    }


@matching_score.check(
    1,
    "Which axis looks, and which one is looked at?",
    "attention[layer, head, i, j]: token i looks at token j. Rows of the query, columns of the document.",
    "Sum over j from document_span[0] up to, but not including, document_span[1].",
)
def one_head(answer, case):
    args = _attention(case, 1, 1, *case.pick((3, 5), (2, 7), (4, 4)))
    weights, (first, last), (start, stop) = args
    right = [[[sum(weights[0, 0, i, j] for j in range(start, stop)) for i in range(first, last)]]]
    wrong = {name: value for name, value in _score_mistakes(*args).items() if not name.startswith("The heads")}
    answer.gives(args, np.array(right), wrong)


@matching_score.check(
    2,
    "Now several layers and heads.",
    "The result has the axes layer, head, query token.",
    "attention[:, :, rows, columns].sum(axis=-1), with slices for rows and columns.",
)
def all_heads(answer, case):
    args = _attention(case, *case.pick((2, 3, 2, 4), (3, 2, 4, 6), (1, 4, 3, 3)))
    weights, (first, last), (start, stop) = args
    right = np.stack([weights[:, :, i, start:stop].sum(-1) for i in range(first, last)], axis=-1)
    answer.gives(args, right, _score_mistakes(*args))


# --------------------------------------------------------------------------------------------------------------------
mean_curve = FILE.exercise("mean_curve", "A head's response to more copies: documents first, then queries.", 2, 15, 2)


def _curves(case, sizes, steps):
    rng = case.rng(2)
    return [np.cumsum(rng.uniform(-0.3, 0.2, (n, steps)), axis=1) for n in sizes]


def _curve_mistakes(curves) -> dict:
    means = np.stack([one.mean(0) for one in curves])
    thrown_together = (
        "All documents were thrown together, so a query with many documents counts more. "
        "Average inside each query first."
    )
    return {
        thrown_together: np.concatenate(curves).mean(0),
        "The documents are not averaged: only the first of each query is used.": np.mean(
            [one[0] for one in curves], axis=0
        ),
        "The value at no copy was taken off: return the curve itself.": means.mean(0) - means.mean(0)[0],
        "This is the sum over queries; take the mean.": means.sum(0),
        "This is the median over queries; take the mean.": np.median(means, axis=0),
        "The average runs over the wrong axis: one number for each count of copies is wanted.": np.array(
            [one.mean() for one in curves]
        ),
    }


@mean_curve.check(
    1,
    "First every query has two documents.",
    "One curve for each query, then the mean of these curves.",
    "np.mean([curve.mean(axis=0) for curve in curves], axis=0).",
)
def equal_groups(answer, case):
    curves = _curves(case, [2] * case.pick(3, 4, 5), case.pick(6, 4, 5))
    right = sum(one[0] / 2 + one[1] / 2 for one in curves) / len(curves)
    wrong = {name: value for name, value in _curve_mistakes(curves).items() if not name.startswith("All doc")}
    answer.gives((curves,), right, wrong)


@mean_curve.check(
    1,
    "Now one query has many documents and another only one.",
    "Queries are the unit: each counts the same.",
    "Average the documents of each query first, and the queries afterwards.",
)
def unequal_groups(answer, case):
    curves = _curves(case, case.pick((1, 6, 2), (5, 1), (1, 2, 9, 1)), 5)
    right = sum(sum(one) / len(one) for one in curves) / len(curves)
    answer.gives((curves,), right, _curve_mistakes(curves))


# --------------------------------------------------------------------------------------------------------------------
same_token_auc = FILE.exercise(
    "same_token_auc", "Does a query token prefer its own copies? Measure it by an AUC.", 3, 20, 2
)


def _auc_mistakes(attention, ids, query_id) -> dict:
    same = np.asarray(ids) == query_id
    copies, others = np.asarray(attention)[same], np.asarray(attention)[~same]
    greater, equal = copies[:, None] > others, copies[:, None] == others
    right = (greater + 0.5 * equal).mean()
    return {
        "Ties count as lost; they count one half.": greater.mean(),
        "Ties count as won; they count one half.": (greater | equal).mean(),
        "The groups are exchanged: a copy above another token is a win.": 1 - right,
        "This is a share of attention; the AUC compares pairs of tokens.": copies.sum() / attention.sum(),
        "This compares the two means; the AUC compares every copy with every other token.": float(
            copies.mean() > others.mean()
        ),
        "Only the best copy is compared; use all copies.": (copies.max() > others).mean(),
        "Copies were compared with all tokens, themselves included.": np.mean(
            (copies[:, None] > attention) + 0.5 * (copies[:, None] == attention)
        ),
        "This is the difference of the means.": copies.mean() - others.mean(),
    }


@same_token_auc.check(
    1,
    "Take every pair of a copy and another token. How often does the copy get more attention?",
    "Two groups: document tokens with the query's id, and the rest.",
    "np.mean(copies[:, None] > others[None, :]).",
)
def no_ties(answer, case):
    query_id, rng = case.pick(7, 0, 12), case.rng(3)
    ids = [query_id, 3, query_id, 4, 5, 9, query_id, 8][: case.pick(8, 7, 5)]
    attention = rng.permutation(np.linspace(0.02, 0.3, len(ids)))
    _check_auc(answer, attention, ids, query_id)


def _check_auc(answer, attention, ids, query_id) -> None:
    from scipy.stats import mannwhitneyu  # here, because it takes a second, and the other exercises need none

    attention, is_copy = np.asarray(attention), np.array(ids) == query_id
    won = mannwhitneyu(attention[is_copy], attention[~is_copy], method="asymptotic").statistic  # a tie is half won
    right = won / (is_copy.sum() * (~is_copy).sum())
    mistakes = _auc_mistakes(attention, ids, query_id).items()
    wrong = {name: value for name, value in mistakes if abs(value - right) > 1e-3}
    answer.gives((attention, ids, query_id), right, wrong)


@same_token_auc.check(
    1, "Some tokens get exactly the same attention.", "A tie is neither won nor lost.", "A tie counts one half."
)
def ties(answer, case):
    for ids, attention in case.pick(
        (([7, 3, 7, 4, 5], [0.2, 0.2, 0.3, 0.1, 0.3]), ([7, 1, 2], [0.2, 0.2, 0.2]), ([7, 1, 2], [0.2, 0.201, 0.199])),
        (([2, 7, 7, 3], [0.2, 0.2, 0.1, 0.1]), ([7, 7, 4, 5], [0.25] * 4), ([7, 5], [0.3, 0.3005])),
        (([7, 1, 1, 7, 3, 4], [0.1, 0.3, 0.1, 0.3, 0.2, 0.1]), ([5, 7], [0.5, 0.5]), ([1, 7, 7], [0.1, 0.101, 0.1])),
    ):
        _check_auc(answer, attention, ids, 7)


@same_token_auc.check(
    1,
    "What if the document has no copy at all, or only copies?",
    "Then there is no pair to compare.",
    "Return NaN: such a row says nothing and must not enter a mean as 0 or 0.5.",
)
def nothing_to_compare(answer, case):
    for ids in ([1, 2, 3], [7, 7], [7], [4]):
        got = answer(np.linspace(0.1, 0.3, len(ids)), ids, 7)
        answer.part(
            got,
            np.nan,
            "",
            {
                "0 would count as a head that avoids its copies.": 0,
                "0.5 would count as chance, but nothing was measured.": 0.5,
                "1 would count as a perfect head, but nothing was measured.": 1,
            },
        )


# --------------------------------------------------------------------------------------------------------------------
choose_heads = FILE.exercise("choose_heads", "Apply a rule that was fixed in advance: which heads match?", 2, 15, 2)


def _tables(case):
    rng = case.rng(5)
    shape = case.pick((3, 2), (2, 4), (12, 3))
    rise = rng.permutation(np.linspace(-0.1, 0.6, shape[0] * shape[1])).reshape(shape)
    low, auc = rise - 0.08, np.full(shape, 0.97)
    return rise, low, auc


def _choose(rise, low, auc, min_rise, min_auc, by=None):
    order = np.argsort(-rise, axis=None) if by is None else np.argsort(by, axis=None)
    places = [np.unravel_index(place, rise.shape) for place in order]
    return [
        f"{layer}.{head}"
        for layer, head in places
        if rise[layer, head] >= min_rise and low[layer, head] > 0 and auc[layer, head] >= min_auc
    ]


@choose_heads.check(
    1,
    "First only the rise differs between the heads.",
    "A head is written layer.head, both from 0; the strongest rise comes first.",
    'For rise [[0.1, 0.4]] and a limit of 0.2 the result is ["0.1"].',
)
def by_rise(answer, case):
    rise, low, auc = _tables(case)
    args = (rise, low, auc, *case.pick((0.2, 0.9), (0.1, 0.8), (0.33, 0.7)))
    right = _choose(*args)
    got = answer.sequence(*args, of="a list of names")
    other = [name.split(".")[1] + "." + name.split(".")[0] for name in right]
    from_one = [f"{int(name.split('.')[0]) + 1}.{int(name.split('.')[1]) + 1}" for name in right]
    answer.holds(
        got == right,
        str(right),
        {
            "The heads stand in the order of layers; the strongest rise comes first.": got
            == _choose(*args, by=np.arange(rise.size).reshape(rise.shape)),
            "The weakest rise comes first; turn the order around.": got == right[::-1],
            "Layer and head are exchanged.": got == other,
            "Layers and heads count from 0.": got == from_one,
            'Return the names, such as "2.1", not pairs of numbers.': bool(got) and not isinstance(got[0], str),
        },
    )


@choose_heads.check(
    1,
    "Now the interval and the AUC differ, too.",
    "All three conditions must hold.",
    "rise >= min_rise, low > 0, auc >= min_auc.",
)
def all_conditions(answer, case):
    rise, low, auc = _tables(case)
    order = [np.unravel_index(place, rise.shape) for place in np.argsort(-rise, axis=None)]
    low[order[0]], auc[order[1]] = -0.01, 0.6
    _check_conditions(answer, rise, low, auc, 0.2, 0.9)


def _check_conditions(answer, rise, low, auc, min_rise, min_auc) -> None:
    right = _choose(rise, low, auc, min_rise, min_auc)
    got = answer.sequence(rise, low, auc, min_rise, min_auc, of="a list of names")
    ones = np.ones_like(rise)
    any_rise = rise.min()
    answer.holds(
        got == right,
        str(right),
        {
            "A head whose interval contains 0 was chosen: its rise may be chance.": got
            == _choose(rise, ones, auc, min_rise, min_auc),
            "A head with a low AUC was chosen: it does not look at its copies.": got
            == _choose(rise, low, ones, min_rise, min_auc),
            "Only the rise was tested; all three conditions must hold.": got
            == _choose(rise, ones, ones, min_rise, min_auc),
            "The rise itself was not tested.": got == _choose(rise, low, auc, any_rise, min_auc),
            "One condition was enough for a head to be chosen; all three must hold.": len(got) > len(right),
            "A value that equals a limit is enough for rise and auc (>=), but not for low (> 0).": len(got)
            < len(right),
        },
    )


@choose_heads.check(
    1,
    "Now some values equal their limit, and other limits are asked for.",
    "rise and auc may equal their limits; low must be above 0.",
    "rise >= min_rise, low > 0, auc >= min_auc, with the limits that were given.",
)
def limits(answer, case):
    rise, low, auc = _tables(case)
    order = [np.unravel_index(place, rise.shape) for place in np.argsort(-rise, axis=None)]
    min_rise, min_auc = float(rise[order[3]]), case.pick(0.95, 0.5, 0.75)
    low[:] = 0.01
    auc[order[1]], low[order[2]] = min_auc, 0.0
    _check_conditions(answer, rise, low, auc, min_rise, min_auc)
    _check_conditions(answer, rise, low, auc, float(rise.max()) + 1, min_auc)


# --------------------------------------------------------------------------------------------------------------------
tfc1_pair = FILE.exercise("tfc1_pair", "Two documents that differ in one thing: one more query term.", 2, 15, 2)


DOCUMENTS = ("baseline", "perturbed")


def _pair(case):
    return case.pick(([11, 12, 13], [21], 99), ([11, 12, 50], [21, 22], 50), ([11, 12, 13, 0], [21, 22, 23], 0))


@tfc1_pair.check(
    1,
    "The perturbed document is the document with the term at its end.",
    "Two lists: baseline first, perturbed second.",
    "perturbed = document + term.",
)
def perturbed(answer, case):
    document, term, filler = _pair(case)
    document = [term[0], *document]
    answer.part(
        answer.parts(document, term, filler, names=DOCUMENTS)[1],
        document + term,
        "perturbed",
        {
            "The term stands at the start; append it at the end.": term + document,
            "The order is (baseline, perturbed).": [*document, *[filler] * len(term)],
            "Only the first piece of the term was appended.": document + term[:1],
            "The term replaces the last tokens; append it.": document[: -len(term)] + term,
            "Occurrences of the term in the document were taken out; leave the document as it is.": [
                token for token in document if token not in term
            ]
            + term,
        },
    )


@tfc1_pair.check(
    1,
    "The two documents must differ in the term only, not in their length.",
    "A longer document changes attention by itself, so the baseline needs fillers.",
    "As many fillers as the term has pieces: baseline = document + [filler] * len(term).",
)
def baseline(answer, case):
    document, term, filler = _pair(case)
    document = document + case.pick([21], [22], [23])
    term = term if len(term) > 1 else [21, 22]
    fillers = [filler] * len(term)
    answer.part(
        answer.parts(document, term, filler, names=DOCUMENTS)[0],
        document + fillers,
        "baseline",
        {
            "The baseline is shorter than the perturbed document: pad it with fillers.": document,
            "There is one filler, but the term has several pieces.": document + [filler],
            "The fillers stand at the start; they take the place of the term, at the end.": fillers + document,
            "Occurrences of the term in the document were replaced; leave the document as it is.": [
                filler if token in term else token for token in document
            ]
            + fillers,
        },
    )


# --------------------------------------------------------------------------------------------------------------------
tdc_pair = FILE.exercise(
    "tdc_pair", "A second axiom: the rarer of two query words in the commoner one's place.", 1, 10, 1
)


def _check_tdc(answer, document, words, idf) -> None:
    rare = words[int(np.argmax(idf))]
    common = words[int(np.argmin(idf))]
    right = ([*document, common], [*document, rare])
    mistakes = {
        "The perturbed document is the one with the *rarer* word, and a rare word has a high IDF.": right[::-1],
        "The word stands at the start; append it at the end.": ([common, *document], [rare, *document]),
        "Both words were appended; the rarer one takes the place of the commoner.": (
            right[0],
            [*document, common, rare],
        ),
        "The baseline has the commoner word in the place of the rarer one.": (list(document), right[1]),
    }
    answer.gives((document, words, idf), right, mistakes)


@tdc_pair.check(
    1,
    "Which of the two words tells more about a document?",
    "The rarer word has the higher IDF. It stands in the perturbed document.",
    "baseline = document + [commoner word], perturbed = document + [rarer word].",
)
def rarer_last(answer, case):
    _check_tdc(
        answer, *case.pick(([5, 6], [8, 9], [1.0, 4.0]), ([3], [9, 8], [0.5, 0.7]), ([1, 2, 8], [8, 0], [0.2, 6.0]))
    )


@tdc_pair.check(
    1,
    "Now the rarer word is given first.",
    "Compare the two values of idf; the order of the words says nothing.",
    "If idf[0] > idf[1], words[0] is the rarer one.",
)
def either_order(answer, case):
    _check_tdc(
        answer, *case.pick(([5, 6], [8, 9], [4.0, 1.0]), ([3, 9], [2, 7], [0.7, 0.5]), ([1, 2], [4, 3], [0.0, -1.0]))
    )
