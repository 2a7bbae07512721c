"""Checks for chapter 6. Oracles: SciPy's decomposition and correlations, and properties of an edit."""

from __future__ import annotations

import numpy as np
from scipy import linalg, stats

from semanticbm.grading.answer import FLOAT32, distance
from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(6)

# --------------------------------------------------------------------------------------------------------------------
u0 = FILE.exercise("u0", "The strongest pattern of the embedding matrix, with a fixed sign.", 2, 20, 2)


def _matrix(case, number=0, lowest=0.5) -> np.ndarray:
    """A random matrix [vocabulary, d_model] with a strong common direction, as word embeddings have.

    `lowest`: how far the words reach along it; below 0 some point the other way.
    """
    rng = case.rng(number)
    n, d = case.pick((12, 4), (20, 5), (9, 3))
    return rng.normal(size=(n, d)) + np.outer(rng.uniform(lowest, 2, n), rng.normal(size=d))


def _anchored(matrix) -> tuple[np.ndarray, float, np.ndarray]:
    u, s, v = linalg.svd(matrix, full_matrices=False)
    sign = -1 if v[0] @ matrix.mean(axis=0) < 0 else 1
    return sign * u[:, 0], float(s[0]), sign * v[0]


@u0.check(
    1,
    "Start with np.linalg.svd(matrix, full_matrices=False). Which of the three results has one number a word?",
    "u is [vocabulary, component], v is [component, d_model]. Component 0 is the strongest.",
    "u[:, 0]; the sign comes in the next check.",
)
def direction(answer, case):
    matrix = _matrix(case, lowest=-0.8)
    right, strength, axis = _anchored(matrix)
    u, s, v = linalg.svd(matrix, full_matrices=False)
    centred = linalg.svd(matrix - matrix.mean(0), full_matrices=False)[0][:, 0]
    value = answer.array(matrix, shape=right.shape)

    def same(other):
        return min(distance(value, other), distance(value, -other)) <= 1

    answer.holds(
        same(right),
        f"{len(right)} numbers, up to their sign {np.round(right, 4)}",
        {
            "This is the right singular vector v0: a direction, not a number for each word.": same(axis)
            or same(v[:, 0]),
            "This is u0 times its strength S0; leave S0 out.": same(right * strength),
            "This is another component; the strongest one has index 0.": same(u[:, 1]) or same(u[:, -1]),
            "The matrix was centred; the paper's matrix is the raw one.": same(centred),
            "This is row 0 of u; components are the columns.": same(u[0]),
            "The sign was taken away number by number; words may lie on both sides.": same(np.abs(right)),
            "These are the lengths of the rows, not U0.": same(np.linalg.norm(matrix, axis=1)),
        },
    )


@u0.check(
    2,
    "The sign of a singular vector is free. Which rule fixes it?",
    "u0 and v0 may both be turned around. Turn both so that v0 points to the side of the mean row.",
    "If v[0] @ matrix.mean(axis=0) < 0, return -u[:, 0].",
)
def sign(answer, case):
    matrices = [_matrix(case, number, lowest=-0.8) * (-1) ** number for number in range(1, 9)]
    anchored = [_anchored(matrix) for matrix in matrices]
    found = [answer.array(matrix, shape=u.shape) for matrix, (u, _, _) in zip(matrices, anchored, strict=True)]
    wrong = [place for place, got in enumerate(found) if distance(got, anchored[place][0]) > 1]
    if not wrong:
        return
    answer(matrices[wrong[0]])  # the report is about this one
    right = anchored[wrong[0]][0]

    def turned(by):
        return all(_close(got, u * np.sign(by(u, v))) for got, (u, _, v) in zip(found, anchored, strict=True))

    answer.holds(
        False,
        f"{right[0]:.6g} at [0]; yours is {found[wrong[0]][0]:.6g}",
        {
            "The sign is the other way round: v0 . mean row must be above 0.": turned(lambda u, v: -1),
            "The sign was fixed by the sum of v0, which has no meaning of its own; fix it by v0 . mean row.": turned(
                lambda u, v: v.sum()
            ),
            "The sign was fixed by one number; fix it by v0 . mean row.": turned(lambda u, v: u[0])
            or turned(lambda u, v: u[np.argmax(np.abs(u))])
            or turned(lambda u, v: v[np.argmax(np.abs(v))]),
            "The sign is the one that np.linalg.svd happens to give; fix it by v0 . mean row.": all(
                _close(got, np.linalg.svd(matrix, full_matrices=False)[0][:, 0])
                for got, matrix in zip(found, matrices, strict=True)
            ),
        },
    )


# --------------------------------------------------------------------------------------------------------------------
u0_idf_correlation = FILE.exercise(
    "u0_idf_correlation", "Does U0 go with IDF? Correlate over the right words.", 2, 15, 2
)


WORDS = ["river", "bank", "money", "water", "loan", "tree", "stone", "fish", "boat", "salt", "paper", "lamp"]


def _words(case, missing: bool):
    """Values, vocabulary and IDF. All words are alphabetic, so a filter for whole words keeps them."""
    rng, n = case.rng(6), case.pick(9, 12, 7)
    vocabulary = {word: int(place) for word, place in zip(WORDS, rng.permutation(n) + 3, strict=False)}
    values = rng.normal(size=n + 3)
    sign = case.pick(-1, -1, 1)  # a correlation above 0 is possible, too
    idf = {word: 5 + sign * 2 * values[place] ** 3 + rng.normal() for word, place in vocabulary.items()}
    if missing:
        for word in (WORDS[1], WORDS[4]):
            del idf[word]
        vocabulary |= {f"##{WORDS[2]}": 0, f"##{WORDS[5]}": 1, "[CLS]": 2}
        idf = {"absent": 9.5} | idf | {"missing": 0.5}
    return values, vocabulary, idf


def _correlation_mistakes(values, vocabulary, idf) -> dict:
    shared = [word for word in vocabulary if word in idf]
    x, y = np.array([values[vocabulary[word]] for word in shared]), np.array([idf[word] for word in shared])
    everything = list(vocabulary)
    stripped = [word for word in vocabulary if word.removeprefix("##") in idf]

    def pearson(a, b):
        return float(np.corrcoef(a, b)[0, 1])

    return {
        "This is a rank correlation (Spearman); Pearson is asked for.": float(stats.spearmanr(x, y).statistic),
        "The sign was lost: it tells whether U0 rises or falls with IDF.": abs(pearson(x, y)),
        "The words are not matched: look U0 up by the word's id.": pearson(values[: len(y)], y),
        "Words without an IDF counted as 0. Leave them out.": pearson(
            [values[vocabulary[word]] for word in everything], [idf.get(word, 0) for word in everything]
        ),
        "Pieces that begin with ## are no words. Leave them out.": pearson(
            [values[vocabulary[word]] for word in stripped], [idf[word.removeprefix("##")] for word in stripped]
        ),
        "This is the square of the correlation.": pearson(x, y) ** 2,
    }


def _check_correlation(answer, case, missing: bool) -> None:
    values, vocabulary, idf = _words(case, missing)
    x, y = zip(*((values[place], idf[word]) for word, place in vocabulary.items() if word in idf), strict=True)
    mistakes = _correlation_mistakes(values, vocabulary, idf)
    answer.gives((values, vocabulary, idf), float(stats.pearsonr(x, y).statistic), mistakes)


@u0_idf_correlation.check(
    1,
    "First every word of the vocabulary has an IDF.",
    "For each word: x = u0[vocabulary[word]], y = idf[word].",
    "np.corrcoef(x, y)[0, 1], with its sign.",
)
def all_words(answer, case):
    _check_correlation(answer, case, False)


@u0_idf_correlation.check(
    1,
    "Now some pieces of the vocabulary have no IDF.",
    "A missing value is not 0.",
    "Use the words that are keys of both dictionaries, exactly as they are written.",
)
def missing_words(answer, case):
    _check_correlation(answer, case, True)


# --------------------------------------------------------------------------------------------------------------------
edit_u0 = FILE.exercise("edit_u0", "Move chosen words along v0, in units of the spread of U0.", 3, 20, 2)


def _edit_case(case):
    matrix = _matrix(case, 11)
    return matrix, *_anchored(matrix), case.pick([1, 4], [0, 7, 8], [2]), case.pick(2.0, -1.5, 0.5)


def _rows(matrix, ids, change) -> np.ndarray:
    edited = matrix.copy()
    edited[ids] = edited[ids] + change
    return edited


@edit_u0.check(
    1,
    "Only the chosen words may change.",
    "Work on a copy: edited = matrix.copy().",
    "edited[token_ids] += ...; return edited.",
)
def other_rows(answer, case):
    matrix, u, s0, v, ids, s = _edit_case(case)
    got = answer.array(matrix, u, s0, v, ids, s, shape=matrix.shape)
    answer.leaves(0, "matrix")
    others = np.setdiff1d(np.arange(len(matrix)), ids)
    changed = ~np.isclose(got, matrix, rtol=FLOAT32, atol=FLOAT32).all(axis=1)
    answer.holds(
        not changed[others].any(),
        "the rows of all other words as they were",
        {
            "Every word was moved; move the rows token_ids only.": bool(changed.all()),
            "The columns were edited instead of the rows.": bool(changed.any()),
        },
    )


@edit_u0.check(
    2,
    "An edit of s raises U0 of a word by s standard deviations of U0.",
    "What does a change of U0 mean for the vector? The matrix is the sum of U0 * S0 * v0 and other patterns.",
    "Add s * np.std(u0) * s0 * v0 to each row of token_ids.",
)
def edited_rows(answer, case):
    matrix, u, s0, v, ids, s = _edit_case(case)
    unit = u.std() * s0 * v
    flipped = matrix.copy()
    flipped[ids] += (-s * np.abs(u[ids]) - u[ids])[:, None] * s0 * v
    scaled = matrix.copy()
    scaled[ids] *= s
    answer.gives(
        (matrix, u, s0, v, ids, s),
        matrix + s * np.outer(np.isin(np.arange(len(u)), ids), unit),
        {
            "This is the sample's spread (ddof=1); std(U0) is the population's, np.std.": _rows(
                matrix, ids, s * u.std(ddof=1) * s0 * v
            ),
            "S0 is missing: a change of U0 moves the vector by S0 times as much.": _rows(matrix, ids, s * u.std() * v),
            "The unit is missing: s counts standard deviations of U0.": _rows(matrix, ids, s * s0 * v),
            "The sign is the other way round: s above 0 raises U0.": _rows(matrix, ids, -s * unit),
            "U0 was *set* to s standard deviations; add them.": _rows(matrix, ids, s * unit - u[ids][:, None] * s0 * v),
            "This is the sign-and-scale edit of the paper's code, s |U0|; add s std(U0).": flipped,
            "The whole row was multiplied by s. Move it along v0 only.": scaled,
            "Nothing was changed.": matrix,
            "U0 itself was multiplied by s; add s standard deviations.": _rows(
                matrix, ids, (s - 1) * u[ids][:, None] * s0 * v
            ),
        },
    )


# --------------------------------------------------------------------------------------------------------------------
random_edit = FILE.exercise("random_edit", "The control: the same push along a random direction.", 3, 20, 2)


def _pushes(answer, case, seed: int):
    matrix, u, s0, _, ids, s = _edit_case(case)
    ids = [*ids, 5]
    got = answer.array(matrix, u, s0, ids, s, np.random.default_rng(seed), shape=matrix.shape)
    answer.leaves(0, "matrix")
    return got - matrix, ids, abs(s) * u.std() * s0


def _close(value, other) -> bool:
    return bool(np.allclose(value, other, rtol=FLOAT32, atol=FLOAT32))


@random_edit.check(
    1,
    "A control is fair only if its push is as long as the real one.",
    "The real push s std(U0) S0 v0 has length |s| std(U0) S0, because v0 has length 1.",
    "Draw a random vector, divide it by its length, multiply by s * np.std(u0) * s0.",
)
def same_length(answer, case):
    push, ids, right = _pushes(answer, case, 1)
    lengths = np.linalg.norm(push, axis=1)
    _, u, s0, _, _, s = _edit_case(case)
    others = np.delete(lengths, ids)
    answer.holds(
        _close(lengths[ids], right) and _close(others, 0),
        f"pushes of length {right:.6g} at the rows {ids}, none elsewhere",
        {
            "Other words were moved, too.": not _close(others, 0),
            "This is the sample's spread (ddof=1); std(U0) is the population's, np.std.": _close(
                lengths[ids], right * u.std(ddof=1) / u.std()
            ),
            "S0 is missing in the length.": _close(lengths[ids], right / s0),
            "std(U0) is missing in the length.": _close(lengths[ids], abs(s) * s0),
            "Nothing was moved.": _close(lengths, 0),
            f"The direction must have length 1. Your pushes have length {lengths[ids][0]:.6g}.": True,
        },
    )


@random_edit.check(
    1,
    "Compare the pushes of two words, and of two calls.",
    "One random direction for all words of an edit; and the generator `rng` decides which.",
    "direction = rng.normal(size=matrix.shape[1]), drawn once, then divided by its length.",
)
def one_direction(answer, case):
    first, ids, length = _pushes(answer, case, 1)
    answer.holds(
        _close(first[ids], first[ids[0]]),
        "the same push for every word of token_ids",
        {"Each word has a direction of its own. Draw once.": True},
    )
    again, other = _pushes(answer, case, 1)[0], _pushes(answer, case, 2)[0]
    answer.holds(
        _close(first, again),
        "the same push when rng has the same seed",
        {"The same seed gave another direction: draw from `rng`, not from np.random.": True},
    )
    answer.holds(
        not _close(first, other),
        "another direction when rng has another seed",
        {"Two seeds gave one direction: draw from `rng`, and do not use v0 or a fixed seed.": True},
    )


@random_edit.check(
    1,
    "Draw a few hundred directions. Does each side of the space come up as often as any other?",
    "All directions must be equally likely. Numbers of one sign, or along one axis, or from a box are not.",
    "A vector of independent normal numbers with mean 0 points anywhere: rng.normal(size=d), divided by its length.",
)
def every_direction(answer, case):
    rng, d = case.rng(21), 16
    matrix, u = rng.normal(size=(3, d)), np.array([0.6, 0.0, -0.8])
    edited = [answer.array(matrix, u, 2.0, [1], 1.0, np.random.default_rng(seed), shape=(3, d)) for seed in range(300)]
    found = np.array([one[1] for one in edited]) - matrix[1]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    centre, spreads = np.linalg.norm(found.mean(0)), d * np.linalg.eigvalsh(found.T @ found / len(found))
    least, spread = spreads[0], spreads[-1]
    tails = d**2 * (found**4).mean()  # 3 d / (d + 2) = 2.67 if all directions are equally likely
    answer.holds(
        centre < 0.3 and least > 0.3 and spread < 2 and 2.2 < tails < 3.2,
        "directions to all sides",
        {
            "Your directions point to one side: the numbers need mean 0, as rng.normal(size=d) has.": centre >= 0.3,
            "Your directions lie along the axes: every number of the direction must be drawn.": tails >= 3.2,
            "Some axes get more of the push than others: all numbers need the same spread.": spread >= 2,
            "Your directions leave out a part of the space: draw each number on its own, and change none after.": least
            <= 0.3,
            "Your directions favour the corners of a box: draw normal numbers, not uniform ones.": tails <= 2.2,
        },
    )


# --------------------------------------------------------------------------------------------------------------------
partial_correlation = FILE.exercise(
    "partial_correlation", "Is it the token id? Correlate what a control leaves.", 3, 20, 2
)


def _partial(x, y, z) -> float:
    """By the textbook formula of three correlations."""
    r = np.corrcoef([x, y, z])
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)))


def _left_over(value, design) -> np.ndarray:
    return value - design @ linalg.lstsq(design, value)[0]


def _partial_mistakes(x, y, z) -> dict:
    r = np.corrcoef([x, y, z])
    one, two = np.column_stack([np.ones_like(z), z]), z[:, None]

    def pearson(a, b):
        return float(np.corrcoef(a, b)[0, 1])

    return {
        "This is the plain correlation: take the control off first.": float(r[0, 1]),
        "The control was taken off one side only; take it off both.": pearson(_left_over(x, one), y),
        "The control was taken off one side only; take it off both sides.": pearson(x, _left_over(y, one)),
        "The line has no intercept: fit a constant, too.": pearson(_left_over(x, two), _left_over(y, two)),
        "The control was subtracted as it is; subtract the fitted line.": pearson(x - z, y - z),
        "The denominator of the formula is missing.": float(r[0, 1] - r[0, 2] * r[1, 2]),
        "This is a rank correlation of what is left; Pearson is asked for.": float(
            stats.spearmanr(_left_over(x, one), _left_over(y, one)).statistic
        ),
    }


def _check_partial(answer, case, shift: float) -> None:
    rng, n = case.rng(8), case.pick(15, 25, 10)
    z = rng.normal(size=n)
    z = z - z.mean()
    x, y = 0.8 * z + rng.normal(size=n), -0.7 * z + rng.normal(size=n)
    x, y, z = x - x.mean() + shift, y - y.mean() + 2 * shift, z + shift
    wrong = {name: value for name, value in _partial_mistakes(x, y, z).items() if shift or "intercept" not in name}
    answer.gives((x, y, z), _partial(x, y, z), wrong)


@partial_correlation.check(
    1,
    "Fit a line to x by the control, and one to y. Correlate what is left over.",
    "residual = value - fitted line, for both x and y.",
    "np.corrcoef(x - fit of x, y - fit of y)[0, 1].",
)
def centred(answer, case):
    _check_partial(answer, case, 0.0)


@partial_correlation.check(
    1,
    "Now the values do not have mean 0. Token ids never have.",
    "A line has a slope and an intercept.",
    "np.polyfit(control, x, 1) fits both.",
)
def not_centred(answer, case):
    _check_partial(answer, case, case.pick(3.0, 10.0, -4.0))
