"""Plausible wrong answers for chapter 8. Named exercise__mistake__check_that_must_fail."""

import numpy as np


def features__products_of_sums__many_pieces(g, ms):
    return np.concatenate([[g.sum()], ms.sum(axis=1), g.sum() * ms.sum(axis=1)])


def features__means__many_pieces(g, ms):
    return np.concatenate([[g.mean()], ms.mean(axis=1), (g * ms).mean(axis=1)])


def features__no_g__one_piece(g, ms):
    return np.concatenate([ms.sum(axis=1), (g * ms).sum(axis=1)])


def features__interleaved__one_piece(g, ms):
    return np.array([g.sum()] + [value for row in ms for value in (row.sum(), (g * row).sum())])


def features__no_products__one_piece(g, ms):
    return np.concatenate([[g.sum()], ms.sum(axis=1)])


def split_by_query__pairs__no_leak(query_ids, share, rng):
    return rng.permutation(len(query_ids)) < round(share * len(query_ids))


def split_by_query__test_mask__share_and_chance(query_ids, share, rng):
    queries = sorted(set(query_ids))
    train = set(rng.permutation(queries)[: round(share * len(queries))])
    return np.array([query not in train for query in query_ids])


def split_by_query__neighbours__share_and_chance(query_ids, share, rng):
    queries = sorted(set(query_ids)) * 2
    begin = rng.integers(len(queries) // 2)
    train = queries[begin : begin + round(share * len(queries) / 2)]
    return np.array([query in train for query in query_ids])


def split_by_query__nobody_trains__share_and_chance(query_ids, share, rng):
    return np.zeros(len(query_ids), dtype=bool)


def split_by_query__first_queries__share_and_chance(query_ids, share, rng):
    queries = sorted(set(query_ids))
    train = queries[: round(share * len(queries))]
    return np.array([query in train for query in query_ids])


def split_by_query__own_generator__share_and_chance(query_ids, share, rng):
    queries = sorted(set(query_ids))
    train = set(np.random.default_rng().permutation(queries)[: round(share * len(queries))])
    return np.array([query in train for query in query_ids])


def split_by_query__share_of_pairs__share_and_chance(query_ids, share, rng):
    train, count = set(), 0
    for query in rng.permutation(sorted(set(query_ids))):
        if count + query_ids.count(query) <= share * len(query_ids):
            train.add(query)
            count += query_ids.count(query)
    return np.array([query in train for query in query_ids])


def _ridge(train_x, train_y, test_x, penalty, mean, spread, own=None):
    a, b = (train_x - mean) / spread, (test_x - mean) / spread
    if own:
        b = (test_x - test_x.mean(axis=0)) / test_x.std(axis=0)
    a_mean = a.mean(axis=0)
    weights = np.linalg.solve(
        (a - a_mean).T @ (a - a_mean) + penalty * np.eye(a.shape[1]), (a - a_mean).T @ (train_y - train_y.mean())
    )
    return (b - a_mean) @ weights + train_y.mean()


def ridge_predictions__no_intercept__no_penalty(train_x, train_y, test_x, penalty):
    mean, spread = train_x.mean(axis=0), train_x.std(axis=0)
    return _ridge(train_x, train_y, test_x, penalty, mean, spread) - train_y.mean()


def ridge_predictions__test_scaled_by_itself__no_penalty(train_x, train_y, test_x, penalty):
    return _ridge(train_x, train_y, test_x, penalty, train_x.mean(axis=0), train_x.std(axis=0), own=True)


def ridge_predictions__scaled_on_all__with_penalty(train_x, train_y, test_x, penalty):
    every = np.concatenate([train_x, test_x])
    return _ridge(train_x, train_y, test_x, penalty, every.mean(axis=0), every.std(axis=0))


def ridge_predictions__not_scaled__with_penalty(train_x, train_y, test_x, penalty):
    return _ridge(train_x, train_y, test_x, penalty, 0, 1)


def ridge_predictions__penalised_intercept__with_penalty(train_x, train_y, test_x, penalty):
    mean, spread = train_x.mean(axis=0), train_x.std(axis=0)
    a, b = (np.column_stack([np.ones(len(x)), (x - mean) / spread]) for x in (train_x, test_x))
    return b @ np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ train_y)


def ridge_predictions__no_penalty__with_penalty(train_x, train_y, test_x, penalty):
    return _ridge(train_x, train_y, test_x, 0, train_x.mean(axis=0), train_x.std(axis=0))


def _others(n_layers, n_heads, chosen):
    return [(layer, head) for layer in range(n_layers) for head in range(n_heads) if (layer, head) not in chosen]


def random_heads__neighbours__drawn_with_rng(n_layers, n_heads, chosen, rng):
    others = _others(n_layers, n_heads, chosen) * 2
    begin = rng.integers(len(others) // 2)
    return others[begin : begin + len(chosen)]


def random_heads__with_replacement__valid(n_layers, n_heads, chosen, rng):
    others = _others(n_layers, n_heads, chosen)
    return [others[place] for place in rng.integers(len(others), size=len(chosen))]


def random_heads__chosen_too__valid(n_layers, n_heads, chosen, rng):
    return [tuple(head) for head in rng.permutation(_others(n_layers, n_heads, []))[: len(chosen)].tolist()]


def random_heads__exchanged__valid(n_layers, n_heads, chosen, rng):
    others = _others(n_layers, n_heads, chosen)
    return [others[place][::-1] for place in rng.permutation(len(others))[: len(chosen)]]


def random_heads__all_others__valid(n_layers, n_heads, chosen, rng):
    return _others(n_layers, n_heads, chosen)


def random_heads__first_ones__drawn_with_rng(n_layers, n_heads, chosen, rng):
    return _others(n_layers, n_heads, chosen)[: len(chosen)]


def random_heads__own_generator__drawn_with_rng(n_layers, n_heads, chosen, rng):
    others = _others(n_layers, n_heads, chosen)
    return [others[place] for place in np.random.permutation(len(others))[: len(chosen)]]


def _judged(mean, low, high, threshold):
    return mean, low, high, "reproduced" if low > threshold else "not reproduced"


def _means(values, rng):
    return values[rng.integers(len(values), size=(1000, len(values)))].mean(axis=1)


def judge__ninety_percent__interval(values, threshold, rng):
    values = values[~np.isnan(values)]
    return _judged(values.mean(), *np.quantile(_means(values, rng), [0.05, 0.95]), threshold)


def judge__spread_of_values__interval(values, threshold, rng):
    values = values[~np.isnan(values)]
    return _judged(values.mean(), *np.quantile(values, [0.025, 0.975]), threshold)


def judge__normal__interval(values, threshold, rng):
    values = values[~np.isnan(values)]
    half = 1.96 * values.std() / np.sqrt(len(values))
    return _judged(values.mean(), values.mean() - half, values.mean() + half, threshold)


def judge__nan_as_zero__missing_values(values, threshold, rng):
    values = np.nan_to_num(values)
    return _judged(values.mean(), *np.quantile(_means(values, rng), [0.025, 0.975]), threshold)


def judge__mean_decides__verdict(values, threshold, rng):
    values = values[~np.isnan(values)]
    low, high = np.quantile(_means(values, rng), [0.025, 0.975])
    return values.mean(), low, high, "reproduced" if values.mean() > threshold else "not reproduced"


def judge__high_decides__verdict(values, threshold, rng):
    values = values[~np.isnan(values)]
    low, high = np.quantile(_means(values, rng), [0.025, 0.975])
    return values.mean(), low, high, "reproduced" if high > threshold else "not reproduced"


def judge__not_zero__verdict(values, threshold, rng):
    values = values[~np.isnan(values)]
    low, high = np.quantile(_means(values, rng), [0.025, 0.975])
    return values.mean(), low, high, "reproduced" if low > 0 else "not reproduced"


def _by_query(scores, query_ids, how):
    ids = np.array(query_ids)
    return np.array([how(score, scores[ids == query]) for score, query in zip(scores, query_ids, strict=True)])


def centre_within__all_together__queries_apart(scores, query_ids):
    return scores - scores.mean()


def centre_within__median__queries_apart(scores, query_ids):
    return _by_query(scores, query_ids, lambda score, own: score - np.median(own))


def centre_within__scaled__queries_apart(scores, query_ids):
    return _by_query(scores, query_ids, lambda score, own: (score - own.mean()) / (own.std() or 1))


def centre_within__the_mean__queries_apart(scores, query_ids):
    return _by_query(scores, query_ids, lambda score, own: own.mean())


def _ablated(z, head, n_heads, value):
    d_head = z.shape[-1] // n_heads
    columns = slice(head * d_head, (head + 1) * d_head)
    ablated = z.copy()
    ablated[..., columns] = value(z[..., columns])
    return ablated


def mean_ablation__zero__columns(z, head, n_heads):
    return _ablated(z, head, n_heads, lambda own: 0)


def mean_ablation__over_positions__columns(z, head, n_heads):
    return _ablated(z, head, n_heads, lambda own: own.mean(axis=1, keepdims=True))


def mean_ablation__one_number__columns(z, head, n_heads):
    return _ablated(z, head, n_heads, lambda own: own.mean())


def mean_ablation__every_head__columns(z, head, n_heads):
    return np.broadcast_to(z.mean(axis=0), z.shape)


def _split_of(query_ids, n, rng):
    queries = sorted(set(query_ids))
    return np.isin(query_ids, rng.permutation(queries)[: n(len(queries))])


def split_by_query__cut_down__share_and_chance(query_ids, share, rng):
    return _split_of(query_ids, lambda total: int(share * total), rng)


def split_by_query__rounded_up__share_and_chance(query_ids, share, rng):
    return _split_of(query_ids, lambda total: int(np.ceil(share * total)), rng)


def split_by_query__0_and_1__no_leak(query_ids, share, rng):
    return _split_of(query_ids, lambda total: round(share * total), rng).astype(int)
