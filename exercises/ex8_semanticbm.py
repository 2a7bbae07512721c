"""Exercises for chapter 8, SemanticBM: book/08-semanticbm.qmd, #sec-semanticbm.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 8.1  difficulty 2 of 5, 20 minutes, 2 points
def features(g: np.ndarray, ms: np.ndarray) -> np.ndarray:
    """SemanticBM's features of a pair, with weights shared over the query pieces.

    Goal: IDF, soft TF, and their product: what a linear model needs to add up IDF times soft TF.

        sum_i g_i;   sum_i MS_h(i) for each head h;   sum_i g_i MS_h(i) for each head h

    g: the IDF read from U0 of each query piece, float [piece]. ms: matching scores, float [head, piece].
    Returns float [1 + 2 * head], in the order of the formula.
    Worked value: features(np.array([2.0, 3.0]), np.array([[0.5, 0.1]])) = [5.0, 0.6, 1.3].
    """
    raise NotImplementedError("Exercise 8.1: write features")


# 8.2  difficulty 2 of 5, 15 minutes, 2 points
def split_by_query(query_ids: list[str], share: float, rng: np.random.Generator) -> np.ndarray:
    """Which pairs are for training, so that no query is on both sides.

    Goal: g identifies the query, so a split over pairs leaks. Split the queries.

    query_ids: the query of each pair. share: of the queries, for training; round(share * number of queries) of them.
    rng: draws them. Returns bool array [pair], True for training.
    Worked value: query_ids ["a", "a", "b"] and share 0.5 give [True, True, False] or [False, False, True].
    """
    raise NotImplementedError("Exercise 8.2: write split_by_query")


# 8.3  difficulty 3 of 5, 30 minutes, 4 points
def ridge_predictions(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, penalty: float) -> np.ndarray:
    """Predicted scores of test pairs from a ridge regression on training pairs.

    Goal: honest scaling. Mean and spread of each feature (np.std) come from the training pairs only.

        minimise  sum over training pairs (y - b0 - w . z)^2 + penalty |w|^2      z: scaled features; b0 is free

    train_x, test_x: float [pair, feature]. train_y: float [training pair]. Returns float [test pair].
    Worked value: train_x [[0], [2]], train_y [1, 3], test_x [[3]], penalty 2: z is [-1, 1], w = 0.5, the result [3.0].
    """
    raise NotImplementedError("Exercise 8.3: write ridge_predictions")


# 8.4  difficulty 2 of 5, 10 minutes, 1 points
def random_heads(
    n_layers: int, n_heads: int, chosen: list[tuple[int, int]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """As many heads as were chosen, drawn at random from the others.

    Goal: the control. If random heads fit as well, the matching heads are nothing special.

    n_layers, n_heads: of the model. chosen: (layer, head) of the matching heads. rng: draws, without replacement.
    Returns a list of (layer, head), none of them chosen, none twice.
    Worked value: random_heads(1, 3, [(0, 1)], rng) is [(0, 0)] or [(0, 2)].
    """
    raise NotImplementedError("Exercise 8.4: write random_heads")


# 8.5  difficulty 3 of 5, 30 minutes, 3 points
def judge(values: np.ndarray, threshold: float, rng: np.random.Generator) -> tuple[float, float, float, str]:
    """The mean over queries, its 95 % bootstrap interval, and the verdict on a claim.

    Goal: a claim is judged by a rule that was fixed before: the whole interval must be above the threshold.

    values: one number a query; NaN where nothing could be measured, to be left out. threshold: fixed before the run.
    rng: draws the positions of 1000 resamples in one call: rng.integers(n, size=(1000, n)) for n values.
    Returns (mean, low, high, verdict): low and high are the 2.5 % and 97.5 % quantiles (np.quantile) of the means,
    verdict is "reproduced" if low > threshold, else "not reproduced".
    Worked value: judge(np.array([1.0, 1.0]), 0.5, rng) = (1.0, 1.0, 1.0, "reproduced").
    """
    raise NotImplementedError("Exercise 8.5: write judge")


# 8.6  difficulty 2 of 5, 10 minutes, 1 points
def centre_within(scores: np.ndarray, query_ids: list[str]) -> np.ndarray:
    """Scores from which each query's own mean is taken off: what a centred fit is made on.

    Goal: a ranking compares documents of one query, so what a whole query has in common must not count.

    scores: float [pair]. query_ids: the query of each pair; the pairs of a query need not stand together.
    Returns float [pair], in the same order.
    Worked value: scores [1, 3, 7] of the queries ["a", "a", "b"] give [-1, 1, 0].
    """
    raise NotImplementedError("Exercise 8.6: write centre_within")


# 8.7  difficulty 2 of 5, 15 minutes, 2 points
def mean_ablation(z: np.ndarray, head: int, n_heads: int) -> np.ndarray:
    """z in which one head says of every pair what it says on average.

    Goal: silence a head without pushing the model where it never was: its mean is usual, 0 is not.

    z: float [pair, position, head * d_head]. Head h owns the columns h * d_head to (h + 1) * d_head.
    Returns the same shape: the head's columns are their mean over pairs, at each position; all others stay.
    Worked value: z [[[1, 5]], [[3, 6]]], head 0 of 2 gives [[[2, 5]], [[2, 6]]].
    """
    raise NotImplementedError("Exercise 8.7: write mean_ablation")
