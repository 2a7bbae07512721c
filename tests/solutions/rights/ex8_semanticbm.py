"""Right answers for chapter 8, written another way."""

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, Ridge


def features__torch(g, ms):
    g, ms = torch.tensor(g), torch.tensor(ms)
    return torch.cat([g.sum()[None], ms @ torch.ones_like(g), ms @ g])


def split_by_query__shuffle(query_ids, share, rng):
    queries, codes = np.unique(query_ids, return_inverse=True)
    train = np.arange(len(queries)) < round(share * len(queries))
    rng.shuffle(train)
    return train[codes]


def ridge_predictions__sklearn(train_x, train_y, test_x, penalty):
    mean, spread = train_x.mean(axis=0), train_x.std(axis=0)
    model = Ridge(alpha=penalty) if penalty else LinearRegression()
    return model.fit((train_x - mean) / spread, train_y).predict((test_x - mean) / spread).tolist()


def random_heads__permutation(n_layers, n_heads, chosen, rng):
    taken = {layer * n_heads + head for layer, head in chosen}
    numbers = [number for number in rng.permutation(n_layers * n_heads) if number not in taken]
    return [tuple(divmod(int(number), n_heads)) for number in numbers[: len(chosen)]]


def judge__choice(values, threshold, rng):
    kept = values[np.isfinite(values)]
    means = np.sort(rng.choice(kept, size=(1000, kept.size), replace=True).mean(axis=-1))
    low, high = np.percentile(means, 2.5), np.percentile(means, 97.5)
    verdict = "not " * bool(low <= threshold) + "reproduced"
    return [float(np.mean(kept)), float(low), float(high), verdict]


def centre_within__pandas(scores, query_ids):
    import pandas as pd

    table = pd.DataFrame({"score": scores, "query": query_ids})
    return table["score"] - table.groupby("query")["score"].transform("mean")


def mean_ablation__reshaped(z, head, n_heads):
    parts = torch.tensor(z).reshape(*z.shape[:2], n_heads, -1)
    parts[:, :, head] = parts[:, :, head].mean(dim=0, keepdim=True)
    return parts.reshape(z.shape)
