"""Checks for chapter 8. Oracles: scikit-learn's ridge regression, sums written as loops, properties of a split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semanticbm.grading.answer import as_sequence
from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(8)
AGAIN = 4  # seeds that are asked twice: answers that draw on their own agree by chance in one of dozens

# --------------------------------------------------------------------------------------------------------------------
features = FILE.exercise("features", "SemanticBM's features of a pair: IDF, soft TF, and their product.", 2, 20, 2)


def _feature_mistakes(g, scores) -> dict:
    both = [g.sum(), *scores.sum(1), *(scores @ g)]
    return {
        "Multiply piece by piece first, then add up; yours multiplies the sums.": [
            g.sum(),
            *scores.sum(1),
            *(scores.sum(1) * g.sum()),
        ],
        "These are means over the pieces; take sums.": np.array(both) / len(g),
        "The sum of g is missing at the start.": both[1:],
        "The order is: sum of g, all sums of MS, all sums of g * MS.": [
            g.sum(),
            *np.column_stack([scores.sum(1), scores @ g]).ravel(),
        ],
        "The products stand before the matching scores; they come last.": [g.sum(), *(scores @ g), *scores.sum(1)],
        "The products g * MS are missing.": both[: 1 + len(scores)],
        "The matching scores are missing; keep them beside the products.": [g.sum(), *(scores @ g)],
        "Only the first query piece is used; add up over all.": [g[0], *scores[:, 0], *(g[0] * scores[:, 0])],
        "The heads were added up; keep one feature for each.": [g.sum(), scores.sum(), (scores @ g).sum()],
    }


def _check_features(answer, case, n_pieces: int) -> None:
    rng, n_heads = case.rng(1), case.pick(3, 2, 4)
    g, scores = rng.uniform(-4, 8, n_pieces), rng.uniform(0, 1, (n_heads, n_pieces))
    right = (
        [sum(g)] + [sum(row) for row in scores] + [sum(a * b for a, b in zip(g, row, strict=True)) for row in scores]
    )
    wrong = {
        name: value
        for name, value in _feature_mistakes(g, scores).items()
        if n_pieces > 1 or not any(word in name for word in ("piece by piece", "means", "first query"))
    }
    answer.gives((g, scores), np.array(right), wrong)


@features.check(
    1,
    "First a query of one piece: nothing is to be added up.",
    "1 + 2 * heads numbers, in the order of the docstring.",
    "[g, MS of head 0, MS of head 1, ..., g * MS of head 0, g * MS of head 1, ...].",
)
def one_piece(answer, case):
    _check_features(answer, case, 1)


@features.check(
    2,
    "Now several pieces. The weights are shared: every piece counts in the same way.",
    "Add up over the pieces; the product g_i * MS(i) is taken at each piece, before the sum.",
    "np.concatenate([[g.sum()], ms.sum(axis=1), (g * ms).sum(axis=1)]).",
)
def many_pieces(answer, case):
    _check_features(answer, case, case.pick(4, 3, 6))


# --------------------------------------------------------------------------------------------------------------------
split_by_query = FILE.exercise("split_by_query", "Training and test pairs that share no query.", 2, 15, 2)


def _query_ids(case) -> list[str]:
    """Ids of pairs, not sorted: pairs of one query need not stand together."""
    sizes = case.pick((5, 1, 3, 2, 4, 9, 1, 2, 3, 6, 2), (2, 8, 1, 4, 3), (3, 1, 1, 7, 2, 2, 5))
    ids = [f"q{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return [str(one) for one in case.rng(22).permutation(ids)]


def _nearly(part: float, share: float, ids: list[str]) -> bool:
    """Whether a part of the pairs is the share, as near as whole queries allow."""
    return abs(part - share) <= max(map(ids.count, ids)) / len(ids)


def _split(answer, case, seed: int, place: int = 0) -> tuple[np.ndarray, list[str], float]:
    """The answer's mask, the ids, the share: two shares in turn, one to be rounded up and one down."""
    ids, share = _query_ids(case), case.pick((0.8, 0.65), (0.75, 0.45), (0.6, 0.8))[place]
    return answer.mask(ids, share, np.random.default_rng(seed), shape=(len(ids),)), ids, share


@split_by_query.check(
    1,
    "What does a model learn about a query that is on both sides?",
    "Draw queries, not pairs. All pairs of a query go the same way.",
    "train = chosen queries; mask[i] = query_ids[i] in train.",
)
def no_leak(answer, case):
    for seed in range(4):
        mask, ids, _ = _split(answer, case, seed)
        both = {query for query, train in zip(ids, mask, strict=True) if train} & {
            query for query, train in zip(ids, mask, strict=True) if not train
        }
        answer.holds(
            not both,
            "every query wholly in training or wholly in test",
            {
                f"{len(both)} queries are on both sides, for example {min(both, default='')}: "
                "the pairs were split, not the queries.": True
            },
        )


@split_by_query.check(
    1,
    "How many queries are in training? And does the generator decide which?",
    "The share counts queries, not pairs.",
    "queries = sorted(set(query_ids)); rng.permutation(queries)[: round(share * len(queries))].",
)
def share_and_chance(answer, case):
    masks = [_split(answer, case, seed) for seed in (*range(AGAIN), *range(40))]
    for mask, ids, share in [*masks, _split(answer, case, 0, 1)]:
        n, total = len({query for query, train in zip(ids, mask, strict=True) if train}), len(set(ids))
        answer.holds(
            n == round(share * total),
            f"{round(share * total)} of {total} queries in training; yours has {n}",
            {
                "The share must be rounded to the nearest number of queries: round, not int or ceil.": abs(
                    n - share * total
                )
                < 1,
                "Training and test are exchanged: True marks training.": n == total - round(share * total),
                "No query is in training.": n == 0,
                "Every query is in training.": n == total,
                "The share was taken of the pairs; take it of the queries.": _nearly(mask.mean(), share, ids),
            },
        )
    plain = [mask for mask, _, _ in masks]
    answer.holds(
        all(map(np.array_equal, plain[:AGAIN], plain[AGAIN:])),
        "the same split for the same seed",
        {"The same seed gave another split: draw from `rng`, and sort the queries first.": True},
    )
    answer.holds(
        not all(np.array_equal(plain[0], mask) for mask in plain),
        "other splits for other seeds",
        {"Every seed gave the same split: let `rng` draw the queries.": True},
    )
    sides = np.array(plain).any(0) & ~np.array(plain).all(0)
    answer.holds(
        bool(sides.all()),
        "every query in training for some seeds and in test for others",
        {"Some queries are always on the same side: draw from all of them.": True},
    )
    ids, share = _query_ids(case), case.pick(0.8, 0.75, 0.6)
    _check_many_sets(answer, [mask.tobytes() for mask in plain], len(set(ids)), round(share * len(set(ids))))


def _check_many_sets(answer, found: list, n_all: int, n_drawn: int) -> None:
    """Draws of `n_drawn` of `n_all` things are many different sets, where there are many."""
    answer.holds(
        len(set(found)) > n_all or math.comb(n_all, n_drawn) < 3 * n_all,
        "any set of them for some seed",
        {"Only neighbours in the list are drawn together: draw each one on its own.": True},
    )


# --------------------------------------------------------------------------------------------------------------------
ridge_predictions = FILE.exercise(
    "ridge_predictions", "Fit on training pairs, predict test pairs, with honest scaling.", 3, 30, 4
)


def _ridge(x, y, test_x, penalty, intercept=True) -> np.ndarray:
    """Ridge regression as plain least squares: for each weight one row more, which pulls sqrt(penalty) times it to 0."""
    centre, level = (x.mean(0), y.mean()) if intercept else (0, 0)
    rows = np.vstack([x - centre, np.sqrt(penalty) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(rows, np.concatenate([y - level, np.zeros(x.shape[1])]), rcond=None)[0]
    return (test_x - centre) @ weights + level


def _fit(train_x, train_y, test_x, penalty, intercept=True, statistics=None, own=False, penalise=False) -> np.ndarray:
    """Ridge regression on scaled features, with switches for the usual mistakes."""
    source = train_x if statistics is None else statistics

    def scale(x, by):
        return (x - by.mean(0)) / by.std(0)

    a, b = scale(train_x, source), scale(test_x, test_x if own else source)
    if penalise:
        a, b = (np.column_stack([np.ones(len(x)), x]) for x in (a, b))
        return b @ np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ train_y)
    return _ridge(a, train_y, b, penalty, intercept)


def _fit_mistakes(train_x, train_y, test_x, penalty) -> dict:
    args, every = (train_x, train_y, test_x, penalty), np.concatenate([train_x, test_x])
    return {
        "The intercept is missing: predictions are off by the mean of the scores.": _fit(*args, intercept=False),
        "The test pairs were scaled by their own mean and spread; use those of the training pairs.": _fit(
            *args, own=True
        ),
        "The scaling saw the test pairs: take mean and spread of the training pairs only.": _fit(
            *args, statistics=every
        ),
        "The intercept was penalised, too; it must stay free.": _fit(*args, penalise=True),
        "The penalty has no effect.": _fit(train_x, train_y, test_x, 0),
        "The spread is that of a sample (ddof=1); np.std divides by the number of pairs.": _fit(
            train_x, train_y, test_x, penalty * (len(train_x) - 1) / len(train_x) if penalty else 0
        ),
        "The features were not scaled.": _ridge(*args),
        "The penalty was multiplied by the number of pairs.": _fit(train_x, train_y, test_x, penalty * len(train_x)),
        "These are predictions for the training pairs.": _fit(train_x, train_y, train_x, penalty),
    }


def _check_fit(answer, case, penalty: float) -> None:
    rng, (n, m, k) = case.rng(2), case.pick((20, 6, 3), (30, 8, 4), (12, 5, 2))
    x = rng.normal([3, -5, 2, 1][:k], [1, 4, 0.5, 2][:k], (n + m, k))
    x[n:] += 1
    y = x @ rng.normal(size=k) + rng.normal(0, 0.5, n + m) - 4
    args = (x[:n], y[:n], x[n:], penalty)
    right = _fit(*args)
    wrong = {
        name: value
        for name, value in _fit_mistakes(*args).items()
        if np.shape(value) != np.shape(right) or not np.allclose(value, right, atol=1e-4)
    }
    answer.gives(args, right, wrong, tolerance=1e-5)


@ridge_predictions.check(
    1,
    "First without a penalty: plain least squares.",
    "Center the scores, or add a column of ones: there is an intercept.",
    "Scale train and test with the *training* mean and standard deviation (np.std).",
)
def no_penalty(answer, case):
    _check_fit(answer, case, 0.0)


@ridge_predictions.check(
    2,
    "Now with a penalty on the weights.",
    "With centred features the intercept is the mean of the training scores; only weights are penalised.",
    "w = solve(Z.T Z + penalty * I, Z.T (y - mean(y))); prediction = Z_test w + mean(y).",
)
def with_penalty(answer, case):
    _check_fit(answer, case, case.pick(5.0, 2.0, 20.0))


# --------------------------------------------------------------------------------------------------------------------
random_heads = FILE.exercise("random_heads", "The control: as many other heads, drawn at random.", 2, 10, 1)


def _chosen(case) -> tuple[list[tuple[int, int]], int, int]:
    n_layers, n_heads = case.pick((6, 3), (3, 7), (4, 5))
    flat = case.rng(3).permutation(n_layers * n_heads)[: case.pick(8, 9, 9)]
    return [(int(place) // n_heads, int(place) % n_heads) for place in flat], n_layers, n_heads


def _drawn(answer, case, seed: int):
    chosen, n_layers, n_heads = _chosen(case)
    got = answer.sequence(n_layers, n_heads, chosen, np.random.default_rng(seed), of="a list of (layer, head)")
    pairs = [as_sequence(one) for one in got]
    whole = all(pair and len(pair) == 2 and all(float(one).is_integer() for one in pair) for pair in pairs)
    answer.holds(whole, "a list of pairs (layer, head)", {"Return pairs of whole numbers.": True})
    return [(int(layer), int(head)) for layer, head in pairs], chosen, n_layers, n_heads


@random_heads.check(
    1,
    "Check number, range, repeats, and the heads that were chosen.",
    "The control must not contain a chosen head, nor the same head twice.",
    "List all other heads, then rng.choice(len(others), size=len(chosen), replace=False).",
)
def valid(answer, case):
    for seed in range(5):
        got, chosen, n_layers, n_heads = _drawn(answer, case, seed)
        inside = all(0 <= layer < n_layers and 0 <= head < n_heads for layer, head in got)
        good = len(got) == len(chosen) and inside and len(set(got)) == len(got) and not set(got) & set(chosen)
        answer.holds(
            good,
            f"{len(chosen)} different heads, none of them chosen",
            {
                "There is no such head: layer comes first, head second, both from 0.": not inside,
                "A head was drawn twice: draw without replacement.": len(set(got)) < len(got),
                "A chosen head is in the control: leave the chosen ones out.": bool(set(got) & set(chosen)),
                f"There must be as many as were chosen, {len(chosen)}; yours has {len(got)}.": len(got) != len(chosen),
            },
        )


@random_heads.check(
    1,
    "Call it twice with the same seed, and with another one.",
    "The generator `rng` must decide, and nothing else.",
    "rng.permutation or rng.choice, not np.random or random.",
)
def drawn_with_rng(answer, case):
    found = [sorted(_drawn(answer, case, seed)[0]) for seed in (*range(AGAIN), *range(40))]
    first, others = found[0], found[AGAIN:]
    answer.holds(
        found[:AGAIN] == others[:AGAIN],
        "the same heads for the same seed",
        {"The same seed gave other heads: draw from `rng`.": True},
    )
    answer.holds(
        any(first != other for other in others),
        "other heads for other seeds",
        {"Every seed gave the same heads: nothing is random here.": True},
    )
    chosen, n_layers, n_heads = _chosen(case)
    seen = {head for heads in others for head in heads}
    answer.holds(
        len(seen) == n_layers * n_heads - len(chosen),
        "every other head for some seed",
        {"Some of the other heads are never drawn: all of them must have a chance.": True},
    )
    _check_many_sets(answer, [tuple(heads) for heads in others], len(seen), len(chosen))


# --------------------------------------------------------------------------------------------------------------------
judge = FILE.exercise("judge", "Judge a claim by a bootstrap interval over queries.", 3, 30, 3)
YES, NO = "reproduced", "not reproduced"


def _interval(values, seed: int, n=1000, level=(0.025, 0.975)) -> tuple[float, float, float]:
    values = np.asarray(values)[~np.isnan(values)]
    means = values[np.random.default_rng(seed).integers(len(values), size=(n, len(values)))].mean(1)
    return float(values.mean()), *map(float, np.quantile(means, level))


def _verdict(interval, threshold) -> str:
    return YES if interval[1] > threshold else NO


def _judge_mistakes(values, threshold, seed) -> dict:
    clean = values[~np.isnan(values)]
    mean, low, high = _interval(values, seed)
    spread, n = clean.std(), len(clean)

    def full(*interval):
        return (*interval, _verdict(interval, threshold))

    filled = np.nan_to_num(values)
    return {
        "The interval holds 90 %: cut 2.5 % on each side.": full(*_interval(values, seed, level=(0.05, 0.95))),
        "This is the spread of the values, not of their mean.": full(mean, mean - 1.96 * spread, mean + 1.96 * spread),
        "These are quantiles of the values; take quantiles of the means of resamples.": full(
            mean, *map(float, np.quantile(clean, (0.025, 0.975)))
        ),
        "This is a normal approximation; draw resamples.": full(
            mean, mean - 1.96 * spread / n**0.5, mean + 1.96 * spread / n**0.5
        ),
        "Every resample is the same: draw *with* replacement.": full(mean, mean, mean),
        "NaN means that nothing was measured: leave it out, it is not 0.": full(*_interval(filled, seed)),
        "NaN spoils the mean: leave these queries out.": full(np.nan, np.nan, np.nan),
    }


OTHER_RULES = {
    "The verdict must rest on the interval, not on the mean.": lambda mean, low, high, threshold: mean > threshold,
    "low must be *above* the threshold; equal is not enough.": lambda mean, low, high, threshold: low >= threshold,
    "The verdict must rest on the *lower* end of the interval.": lambda mean, low, high, threshold: high > threshold,
    "The verdict is turned around.": lambda mean, low, high, threshold: low <= threshold,
    "The verdict asks whether 0 is outside; the threshold was fixed before.": lambda mean, low, high, threshold: (
        low > 0
    ),
}


@dataclass(frozen=True)
class Claim:
    """What is judged: a value for each query, the threshold, and the seed of the resamples."""

    values: np.ndarray
    threshold: float
    seed: int

    @property
    def interval(self) -> tuple[float, float, float]:
        """Mean, low, high."""
        return _interval(self.values, self.seed)

    @property
    def args(self) -> tuple:
        """What the function is called with."""
        return self.values, self.threshold, np.random.default_rng(self.seed)


def _claim(case, n_missing: int, place: float) -> Claim:
    """A claim whose threshold stands at a place between the low end of the interval (0) and the mean (1)."""
    rng, seed = case.rng(4), case.pick(0, 5, 9)
    values = rng.normal(0.5, 0.4, case.pick(25, 40, 18))
    values[:n_missing] = np.nan
    mean, low, _ = _interval(values, seed)
    return Claim(values, round(low + place * (mean - low), 6), seed)


def _check_claim(answer, claim: Claim, rule: str | None = None) -> None:
    """`rule`: by which other rule the answer seems to judge."""
    right = (*claim.interval, _verdict(claim.interval, claim.threshold))
    wrong = {rule: (*right[:3], NO if right[3] == YES else YES)} if rule else {}
    wrong |= _judge_mistakes(claim.values, claim.threshold, claim.seed)
    answer.gives(claim.args, right, {name: value for name, value in wrong.items() if value != right}, tolerance=1e-7)


def _rule_seen(answer, claims: list[Claim]) -> str | None:
    """The other rule that gives the same verdicts as the answer, if one does."""
    said = [answer.parts(*claim.args, names=("mean", "low", "high", "verdict"))[3] for claim in claims]
    for name, rule in OTHER_RULES.items():
        if said == [YES if rule(*claim.interval, claim.threshold) else NO for claim in claims]:
            return name
    return None


@judge.check(
    1,
    "Draw as many queries as there are, with replacement; average; repeat 1000 times.",
    "places = rng.integers(len(values), size=(1000, len(values))); means = values[places].mean(axis=1).",
    "np.quantile(means, [0.025, 0.975]) are the ends of the interval.",
)
def interval(answer, case):
    _check_claim(answer, _claim(case, 0, -0.5))


@judge.check(
    1,
    "Some queries could not be measured; their value is NaN.",
    "Leave them out before you draw.",
    "values = values[~np.isnan(values)].",
)
def missing_values(answer, case):
    _check_claim(answer, _claim(case, 3, -0.5))


@judge.check(
    1,
    "Which of the three numbers decides? Here are claims just above the threshold, far above it, below it and right at it.",
    "A claim is reproduced if the whole interval is above the threshold; equal is not above.",
    '"reproduced" if low > threshold, else "not reproduced".',
)
def verdict(answer, case):
    seed, value = case.pick(1, 2, 3), case.pick(0.5, -1.25, 3.0)
    constant, below = np.full(case.pick(6, 4, 9), value), case.rng(5).normal(-1, 0.4, 20)
    claims = [_claim(case, 0, place) for place in (-0.5, 0.5, 1.5)]
    claims += [Claim(below, case.pick(-1.5, -1.0, -2.0), seed)]
    claims += [Claim(constant, threshold, seed) for threshold in (value, value - 0.25)]
    rule = _rule_seen(answer, claims)
    for claim in claims:
        _check_claim(answer, claim, rule)


# --------------------------------------------------------------------------------------------------------------------
centre_within = FILE.exercise("centre_within", "Take each query's own mean off the scores.", 2, 10, 1)


@centre_within.check(
    1,
    "What do all documents of a query have in common? It cannot order them.",
    "For each query: the mean over its own pairs, taken off each of them.",
    "scores[i] - mean of scores[j] over all j with query_ids[j] == query_ids[i].",
)
def queries_apart(answer, case):
    rng, sizes = case.rng(6), case.pick((3, 1, 4), (2, 5), (4, 3, 1, 2))
    ids = [str(one) for one in rng.permutation([f"q{query}" for query, size in enumerate(sizes) for _ in range(size)])]
    scores = rng.normal(0, 2, len(ids)) + np.array([3 * int(one[1:]) for one in ids])
    own = [[score for score, other in zip(scores, ids, strict=True) if other == query] for query in ids]
    right = np.array([score - sum(group) / len(group) for score, group in zip(scores, own, strict=True)])
    spread = np.array([np.std(group) or 1 for group in own])
    answer.gives(
        (scores, ids),
        right,
        {
            "One mean was taken off all scores; each query has its own.": scores - scores.mean(),
            "This takes off the median; take the mean.": scores - np.array([np.median(group) for group in own]),
            "The scores were divided by their spread, too; only the mean is taken off.": right / spread,
            "These are the means; take them off the scores.": np.array([np.mean(group) for group in own]),
            "The sign is the other way round.": -right,
        },
    )


# --------------------------------------------------------------------------------------------------------------------
mean_ablation = FILE.exercise("mean_ablation", "Let a head say of every pair what it says on average.", 2, 15, 2)


@mean_ablation.check(
    1,
    "Which axis runs over the pairs? And which columns belong to the head?",
    "The mean runs over the pairs alone, so each position keeps its own mean.",
    "columns = slice(head * d_head, (head + 1) * d_head); z[..., columns].mean(axis=0).",
)
def columns(answer, case):
    n_pairs, n_positions, n_heads, d_head = case.pick((3, 2, 2, 3), (4, 3, 3, 2), (2, 5, 4, 1))
    head, z = case.pick(1, 0, 2), case.rng(9).normal(0.5, 1, (n_pairs, n_positions, n_heads * d_head))
    own = np.isin(np.arange(n_heads * d_head), np.arange(d_head) + head * d_head)

    def put(value):
        return np.where(own, value, z)

    answer.gives(
        (z, head, n_heads),
        put(sum(z) / n_pairs),
        {
            "The head was set to 0, a value that it never has; use its mean over the pairs.": put(0),
            "The mean runs over the positions; it must run over the pairs.": put(z.mean(axis=1, keepdims=True)),
            "One number was put everywhere: each position and column has its own mean.": put(z[..., own].mean()),
            "All heads were ablated; replace the columns of one.": np.broadcast_to(z.mean(axis=0), z.shape),
            "This is the head's mean alone; return z with it in place.": np.broadcast_to(z.mean(axis=0), z.shape)[
                ..., own
            ],
            "Another head was ablated; heads count from 0.": np.where(
                np.roll(own, d_head), np.broadcast_to(z.mean(axis=0), z.shape), z
            ),
        },
    )
