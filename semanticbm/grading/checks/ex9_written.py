"""Checks for chapter 9. Oracles: sums written as loops, means over what is left when one document is taken out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(9)


def _that_differ(mistakes: Mapping, right) -> dict:
    """The mistakes that give another value than the right one here."""
    right = np.asarray(right, dtype=float)
    return {
        name: value
        for name, value in mistakes.items()
        if np.shape(value) != right.shape or not np.allclose(value, right, atol=1e-4)
    }


# --------------------------------------------------------------------------------------------------------------------
written = FILE.exercise("written", "From where a head looks to what it tells the later layers, in logits.", 2, 15, 2)


def _written_mistakes(attention, values, slope) -> dict:
    along = values @ slope
    return {
        "This is where the head looks; what it writes is weighted by v_j . slope.": attention.sum(axis=1),
        "These are vectors z_i; their product with the slope is missing.": attention @ values,
        "What a document piece takes away counts as minus: no absolute values.": attention @ np.abs(along),
        "These are means over the document pieces; add up.": attention @ along / len(values),
        "The slope was scaled to length 1; its length says how much the score cares.": attention
        @ along
        / np.linalg.norm(slope),
        "The attention was made to add up to 1; the rest of it went elsewhere, and stays there.": attention
        @ along
        / attention.sum(axis=1),
        "The query pieces were added up; keep one number for each.": (attention @ along).sum(keepdims=True),
        "This is what the document pieces hold; the attention is missing.": np.full(len(attention), along.sum()),
    }


def _check_written(answer, case, n_query: int) -> None:
    rng, (n_document, d_head) = case.rng(1), case.pick((6, 4), (5, 3), (8, 2))
    attention = rng.dirichlet(np.ones(n_document + 2), n_query)[:, :n_document]
    values, slope = rng.normal(size=(n_document, d_head)), rng.normal(0, 2, d_head)
    right = [
        sum(a * sum(v * g for v, g in zip(vector, slope, strict=True)) for a, vector in zip(row, values, strict=True))
        for row in attention
    ]
    args = (attention, values, slope)
    answer.gives(args, np.array(right), _that_differ(_written_mistakes(*args), right))


@written.check(
    1,
    "First one query piece. Which part of the value does the score care about?",
    "v_j . slope is one number for each document piece; the attention weighs these numbers.",
    "attention @ (values @ slope).",
)
def one_piece(answer, case):
    _check_written(answer, case, 1)


@written.check(
    1,
    "Now several query pieces, each with its own row of attention.",
    "One number for each query piece: nothing is added up over the query.",
    "attention @ (values @ slope) has the shape [query piece].",
)
def several_pieces(answer, case):
    _check_written(answer, case, case.pick(3, 4, 2))


# --------------------------------------------------------------------------------------------------------------------
term_weights = FILE.exercise("term_weights", "The weight of a query piece that the model itself uses.", 1, 10, 1)


def _weight_mistakes(attention, heads) -> dict:
    chosen = attention[:, heads]
    right = chosen.mean(axis=(0, 1))
    return {
        "These are all heads of the layer; take the chosen ones.": attention.mean(axis=(0, 1)),
        "This is the first document alone; a weight of the query is a mean over documents.": chosen[0].mean(axis=0),
        "There is one weight for each document; average over the documents, too.": chosen.mean(axis=1),
        "The weights were made to add up to 1; the rest of the attention went elsewhere.": right / right.sum(),
        "The heads were added up; take their mean.": chosen.sum(axis=1).mean(axis=0),
        "The documents were added up; take their mean.": chosen.mean(axis=1).sum(axis=0),
        "The numbers of the heads were used for documents: the heads are the second axis.": attention[heads].mean(
            axis=(0, 1)
        ),
        "These are medians; take means.": np.median(chosen, axis=(0, 1)),
    }


def _check_weights(answer, case, heads: list[int]) -> None:
    rng, (n_documents, n_heads, n_pieces) = case.rng(2), case.pick((6, 5, 3), (7, 4, 2), (5, 5, 4))
    attention = rng.dirichlet(np.ones(n_pieces + 3), (n_documents, n_heads))[..., :n_pieces]
    right = [
        sum(attention[document, head, piece] for document in range(n_documents) for head in heads)
        / (n_documents * len(heads))
        for piece in range(n_pieces)
    ]
    answer.gives((attention, list(heads)), np.array(right), _that_differ(_weight_mistakes(attention, heads), right))


@term_weights.check(
    1,
    "First one scoring head. Over what is the mean taken?",
    "Choose the head on the second axis, then average over the documents.",
    "cls_attention[:, heads].mean(axis=(0, 1)).",
)
def one_head(answer, case):
    _check_weights(answer, case, [case.pick(2, 3, 1)])


@term_weights.check(
    1,
    "Now several heads score.",
    "Average over the heads as over the documents.",
    "cls_attention[:, heads].mean(axis=(0, 1)).",
)
def several_heads(answer, case):
    _check_weights(answer, case, case.pick([0, 3], [3, 1, 0], [2, 4]))


# --------------------------------------------------------------------------------------------------------------------
leave_one_out = FILE.exercise(
    "leave_one_out", "The mean slope of the other documents, never of the one at hand.", 2, 10, 1
)


def _left_out_mistakes(slopes) -> dict:
    total, n = slopes.sum(axis=0), len(slopes)
    return {
        "This is the document's own slope, which knows its score.": slopes,
        "The document's own slope is in the mean; leave it out.": np.broadcast_to(total / n, slopes.shape),
        "The sum of the others was divided by the number of all documents.": (total - slopes) / n,
        "One mean for all documents; each document has others.": total / n,
        "These are sums over the others; take means.": total - slopes,
        "This is the mean of all minus the document's own slope.": total / n - slopes,
        "The mean was taken over the pieces, too; each piece has its own slope.": np.broadcast_to(
            ((total - slopes) / (n - 1)).mean(axis=1, keepdims=True), slopes.shape
        ),
    }


def _check_left_out(answer, case, n_documents: int) -> None:
    rng, (n_pieces, d_head) = case.rng(3), case.pick((3, 4), (2, 5), (4, 2))
    slopes = rng.normal(1, 2, (n_documents, n_pieces, d_head))
    right = [
        np.mean([slopes[other] for other in range(n_documents) if other != own], axis=0) for own in range(n_documents)
    ]
    answer.gives((slopes,), np.array(right), _that_differ(_left_out_mistakes(slopes), right))


@leave_one_out.check(
    1,
    "With two documents, each gets the slope of the other.",
    "Leave the document itself out before you average.",
    "(slopes.sum(axis=0) - slopes) / (len(slopes) - 1).",
)
def two_documents(answer, case):
    _check_left_out(answer, case, 2)


@leave_one_out.check(
    1,
    "Now more documents.",
    "The mean of n - 1 documents: their sum over n - 1.",
    "(slopes.sum(axis=0) - slopes) / (len(slopes) - 1).",
)
def many_documents(answer, case):
    _check_left_out(answer, case, case.pick(5, 4, 7))


# --------------------------------------------------------------------------------------------------------------------
own_share = FILE.exercise("own_share", "How much of the match signals is each piece's own.", 3, 15, 2)


def _share_mistakes(signals) -> dict:
    moved, at_once = signals - signals.mean(axis=0), signals - signals.mean()
    table, power = np.corrcoef(signals.T), (moved**2).mean()
    common = moved.mean(axis=1)
    return {
        "This is the common share; the own share is the rest.": (common**2).mean() / power,
        "Take each piece's mean over documents off first.": 1
        - (signals.mean(axis=1) ** 2).mean() / (signals**2).mean(),
        "Each piece has its own mean over documents; yours took one mean off all.": 1
        - (at_once.mean(axis=1) ** 2).mean() / (at_once**2).mean(),
        "This compares spreads; compare their squares.": 1 - common.std() / moved.std(),
        "What is common is the mean over the pieces, not their sum.": 1 - (moved.sum(axis=1) ** 2).mean() / power,
        "This is a correlation; compare mean squares.": 1 - table[np.triu_indices(len(table), 1)].mean(),
        "The mean was taken over the pieces where it belongs to the documents.": 1
        - (moved.mean(axis=0) ** 2).mean() / power,
    }


def _check_share(answer, signals: np.ndarray) -> None:
    n, m = signals.shape
    means = [sum(signals[:, piece]) / n for piece in range(m)]
    moved = [[signals[document, piece] - means[piece] for piece in range(m)] for document in range(n)]
    common = sum((sum(row) / m) ** 2 for row in moved) / n
    right = 1 - common / (sum(value**2 for row in moved for value in row) / (n * m))
    answer.gives((signals,), right, _that_differ(_share_mistakes(signals), right))


@own_share.check(
    1,
    "Here the pieces move against each other: nothing is common, and the share is 1.",
    "A piece that is high for every document tells nothing: take its mean over documents off.",
    "moved = signals - signals.mean(axis=0); common = moved.mean(axis=1).",
)
def apart(answer, case):
    rng = case.rng(4)
    one = rng.normal(size=case.pick(6, 9, 5))
    _check_share(answer, np.column_stack([one + 3, 1 - one]))


@own_share.check(
    1,
    "Now a part is common to all pieces, and a part is not.",
    "Compare mean squares: of what is common, and of everything.",
    "1 - (common**2).mean() / (moved**2).mean().",
)
def mixed(answer, case):
    rng, (n, m) = case.rng(5), case.pick((8, 3), (12, 4), (6, 5))
    _check_share(answer, rng.normal(size=(n, 1)) + rng.normal(0, 0.9, (n, m)) + rng.normal(0, 2, m))
