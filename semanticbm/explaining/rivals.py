"""What else is used to say which query term mattered: one number a term, by methods that know no circuit.

Gradients, integrated gradients, occlusion and KernelSHAP are captum's; attention rollout is ten lines, because no kept
library has it for today's transformers. KernelSHAP stands for the family of LIME: a linear model fitted to scores of queries
with terms hidden. (`ir_explain` packs LIME for rankers, but pins torch 2.2 and numpy 1.24 and cannot be installed here.)

A hidden piece is [MASK], for occlusion, KernelSHAP and as the zero of integrated gradients: the token that stands for "not
known". A term's number is the sum over its pieces; the document is left as it is.

When it misleads: occlusion and KernelSHAP score altered queries, so they measure nearly what they are later compared with,
taking a term out. They cost a run for each alteration, and say nothing of how the score came about.

Sources: Abnar and Zuidema 2020 (rollout), Sundararajan et al. 2017 (integrated gradients), Lundberg and Lee 2017 (KernelSHAP).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from semanticbm.bert import word_embeddings
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair
from semanticbm.errors import UserError
from semanticbm.ladder import seeded_torch

try:
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, KernelShap
except ModuleNotFoundError:
    raise UserError("the comparison needs captum: pip install 'semanticbm[compare]'.") from None

STEPS = 12  # of integrated gradients
SAMPLES = 32  # of KernelSHAP
BATCH = 16


class Rivals:
    """All methods on one pair. `pieces`: for each term its pieces, counted from the first of the query."""

    def __init__(self, model: CrossEncoder, pair: Pair, pieces: Sequence[Sequence[int]]):
        self.model, self.pieces, self.encoding = model, pieces, model.encode([pair])
        self.places = slice(*self.encoding.query_spans[0])
        self.hidden = self.encoding.input_ids.clone()
        self.hidden[:, self.places] = model.tokenizer.mask_token_id

    def all(self) -> dict[str, np.ndarray]:
        """{method: float [term]}."""
        return {
            "attention rollout": self.rollout(),
            "gradient times input": self.gradient_times_input(),
            "integrated gradients": self.integrated_gradients(),
            "KernelSHAP": self.kernel_shap(),
            "occlusion by [MASK]": self.occlusion(),
        }

    def rollout(self) -> np.ndarray:
        """How [CLS] reaches each term when attention is followed through all layers, half of it staying where it is."""
        patterns = self.model.attention(self.encoding)[:, 0].mean(dim=1).double()  # [layer, attends, attended]
        mixed = (patterns + torch.eye(patterns.shape[-1], dtype=patterns.dtype)) / 2
        reached = mixed[0]
        for layer in mixed[1:]:
            reached = layer @ reached
        return self._of_terms(reached[0])

    def gradient_times_input(self) -> np.ndarray:
        """Gradient of the score times the word vectors."""
        return self._of_terms(InputXGradient(self._score_of_vectors).attribute(self._vectors())[0].sum(-1))

    def integrated_gradients(self) -> np.ndarray:
        """Gradients between a query of [MASK]s and the query, times the way."""
        zero = word_embeddings(self.model.hf)(self.hidden)
        method = IntegratedGradients(self._score_of_vectors)
        found = method.attribute(self._vectors(), zero, n_steps=STEPS, internal_batch_size=BATCH)
        return self._of_terms(found[0].sum(-1))

    def occlusion(self) -> np.ndarray:
        """What the score loses when a term becomes [MASK]."""
        method = FeatureAblation(self._score_of_query)
        found = method.attribute(*self._query(), feature_mask=self._groups(), perturbations_per_eval=BATCH)
        return self._first_pieces(found)

    def kernel_shap(self) -> np.ndarray:
        """Shapley values of the terms, from a linear fit to queries with random terms as [MASK]."""
        method, how = KernelShap(self._score_of_query), {"n_samples": SAMPLES, "perturbations_per_eval": BATCH}
        with seeded_torch(0):
            return self._first_pieces(method.attribute(*self._query(), feature_mask=self._groups(), **how))

    # What the methods are given

    def _query(self) -> tuple[Tensor, Tensor]:
        """The pieces of the query, and as many [MASK]s: int [1, piece] both."""
        return self.encoding.input_ids[:, self.places], self.hidden[:, self.places]

    def _groups(self) -> Tensor:
        """The term of each piece of the query: int [1, piece]."""
        groups = torch.zeros_like(self._query()[0])
        for term, pieces in enumerate(self.pieces):
            groups[0, list(pieces)] = term
        return groups

    def _vectors(self) -> Tensor:
        return word_embeddings(self.model.hf)(self.encoding.input_ids).clone().requires_grad_(True)

    def _score_of_query(self, query: Tensor) -> Tensor:
        ids = self.encoding.input_ids.repeat(len(query), 1)
        ids[:, self.places] = query
        return self._logits(len(query), input_ids=ids)

    def _score_of_vectors(self, vectors: Tensor) -> Tensor:
        return self._logits(len(vectors), inputs_embeds=vectors)

    def _logits(self, n: int, **inputs: Tensor) -> Tensor:
        rest = {name: value.expand(n, -1) for name, value in _without_ids(self.encoding).items()}
        return self.model.hf(**inputs, **rest).logits[:, 0]

    # What the methods give

    def _of_terms(self, of_positions: Tensor) -> np.ndarray:
        """float [position] -> float [term], pieces added up."""
        values = of_positions[self.places].detach().double().cpu().numpy()
        return np.array([values[list(pieces)].sum() for pieces in self.pieces])

    def _first_pieces(self, found: Tensor) -> np.ndarray:
        """captum gives each piece of a group the group's value."""
        values = found[0].detach().double().cpu().numpy()
        return np.array([values[pieces[0]] for pieces in self.pieces])


def _without_ids(encoding: Encoding) -> dict[str, Tensor]:
    return {"attention_mask": encoding.attention_mask, "token_type_ids": encoding.token_type_ids}
