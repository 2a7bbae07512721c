"""Reference answers for chapter 8."""

import numpy as np


def features(g, ms):
    return np.concatenate([[g.sum()], ms.sum(axis=1), (g * ms).sum(axis=1)])


def split_by_query(query_ids, share, rng):
    queries = sorted(set(query_ids))
    train = set(rng.permutation(queries)[: round(share * len(queries))])
    return np.array([query in train for query in query_ids])


def ridge_predictions(train_x, train_y, test_x, penalty):
    mean, spread = train_x.mean(axis=0), train_x.std(axis=0)
    train_z, test_z = (train_x - mean) / spread, (test_x - mean) / spread
    gram = train_z.T @ train_z + penalty * np.eye(train_z.shape[1])
    weights = np.linalg.solve(gram, train_z.T @ (train_y - train_y.mean()))
    return test_z @ weights + train_y.mean()


def random_heads(n_layers, n_heads, chosen, rng):
    others = [(layer, head) for layer in range(n_layers) for head in range(n_heads) if (layer, head) not in chosen]
    return [others[place] for place in rng.choice(len(others), size=len(chosen), replace=False)]


def judge(values, threshold, rng):
    values = values[~np.isnan(values)]
    places = rng.integers(len(values), size=(1000, len(values)))
    low, high = np.quantile(values[places].mean(axis=1), [0.025, 0.975])
    return values.mean(), low, high, "reproduced" if low > threshold else "not reproduced"


def centre_within(scores, query_ids):
    ids = np.array(query_ids)
    return np.array([score - scores[ids == query].mean() for score, query in zip(scores, query_ids, strict=True)])


def mean_ablation(z, head, n_heads):
    d_head = z.shape[-1] // n_heads
    columns = slice(head * d_head, (head + 1) * d_head)
    ablated = z.copy()
    ablated[..., columns] = z[..., columns].mean(axis=0)
    return ablated
