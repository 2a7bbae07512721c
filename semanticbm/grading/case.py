"""Inputs for the checks, from a seed: the variant that readers see, and held-out ones.

Variant 0 is what `semanticbm check` and `pytest exercises` use. The held-out variants use the same checks with other
numbers, other shapes and other random models. They guard against answers made for one input. They are no secret:
this file is part of the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VISIBLE = (0,)
HELD_OUT = (1, 2)
SHAPES = ((3, 2, 4), (4, 4, 4), (5, 3, 6))  # layers, heads, numbers per head: one for each variant


@dataclass(frozen=True)
class Case:
    """One variant of a check's inputs."""

    variant: int

    def pick(self, *options):
        """The option of this variant: visible first, then held out."""
        return options[self.variant % len(options)]

    def rng(self, number: int = 0) -> np.random.Generator:
        """A fresh random generator; the same numbers on every call."""
        return np.random.default_rng([20250, self.variant, number])

    def model(self):
        """A small random BERT with one logit, wrapped as a `CrossEncoder` without a tokenizer."""
        from semanticbm.grading.child.models import tiny_model

        return tiny_model(*SHAPES[self.variant], seed=self.variant)

    def pairs(self, n_pairs: int = 2, query: int = 3, document: int = 5, changed: int = 2) -> tuple[dict, dict]:
        """Token ids of baseline and perturbed pairs of equal length; they differ in the last document tokens.

        Each is a dictionary of input_ids, attention_mask, token_type_ids: int [batch, position]. In a batch the last pair
        is padded: its last position has mask 0.
        """
        rng = self.rng(99)
        query, document = query + self.variant, document + 2 * self.variant
        rows = [
            np.concatenate([[1], rng.integers(5, 50, query), [2], rng.integers(5, 50, document), [2]])
            for _ in range(n_pairs)
        ]
        baseline = np.stack(rows)
        perturbed = baseline.copy()
        perturbed[:, -1 - changed : -1] = rng.integers(50, 60, (n_pairs, changed))
        types = np.r_[np.zeros(query + 2, int), np.ones(document + 1, int)]
        n_padded = int(n_pairs > 1)
        return _tensors(baseline, types, n_padded), _tensors(perturbed, types, n_padded)


def _tensors(ids: np.ndarray, types: np.ndarray, n_padded: int) -> dict:
    import torch

    mask = torch.ones(ids.shape, dtype=torch.long)
    if n_padded:
        ids, mask[-1, -n_padded:] = ids.copy(), 0
        ids[-1, -n_padded - 1 :] = [2, 0]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": mask,
        "token_type_ids": torch.tensor(np.tile(types, (len(ids), 1))),
    }
