"""Measures against hand computation, correlations against scipy, bootstrap against theory."""

import math

import numpy as np
import pytest
from scipy import stats

from semanticbm.errors import UserError
from semanticbm.evaluation import (
    bootstrap_mean,
    measure,
    ndcg,
    paired_bootstrap,
    partial_correlation,
    pearson,
    spearman,
)


def test_ndcg_by_hand():
    value = ndcg({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"b": 2, "c": 1}})["q"]
    gain = 2 / math.log2(3) + 1 / math.log2(4)
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert value == pytest.approx(gain / best)


def test_missing_query_counts_as_zero_and_unjudged_queries_are_left_out():
    values = ndcg({"q": {"a": 1.0}}, {"q": {"a": 1}, "missing": {"a": 1}, "hopeless": {"a": 0}})
    assert values == {"q": 1.0, "missing": 0.0}


def test_recall():
    assert measure({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 1, "b": 1}}, "R@1")["q"] == 0.5


def test_nothing_to_measure():
    with pytest.raises(UserError, match="nothing to measure"):
        ndcg({}, {"q": {"a": 0}})


def test_correlations_equal_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.integers(0, 5, size=50)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]))


def test_partial_correlation_removes_a_common_cause():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=4000)
    x, y = cause + rng.normal(size=4000), cause + rng.normal(size=4000)
    assert pearson(x, y) > 0.4
    assert abs(partial_correlation(x, y, cause[:, None])) < 0.05


def test_bootstrap_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    mean, low, high = bootstrap_mean(values)
    assert mean == pytest.approx(values.mean())
    assert (high - low) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_bootstrap_leaves_out_nan():
    assert bootstrap_mean([1.0, float("nan"), 3.0])[0] == 2.0


def test_paired_bootstrap_cancels_what_queries_share():
    rng = np.random.default_rng(0)
    first = {str(i): v for i, v in enumerate(rng.normal(scale=10, size=100))}
    second = {query: value - 0.5 for query, value in first.items()}
    assert paired_bootstrap(first, second) == pytest.approx((0.5, 0.5, 0.5))
