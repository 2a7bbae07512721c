"""BERT's parts by name: the one file that knows what Hugging Face calls the modules.

Each accessor takes the Hugging Face model or its nnsight wrapper, because the wrapper mirrors the module tree. One name
differs: nnsight uses `.output` for the value that a module returned, so the child module called `output` is renamed
`E_output`; `z_projection` and `mlp_projection` hide this.

A layer is two halves. Attention is the only place where positions exchange anything; what comes after it (W_O, residual
connection, LayerNorm, MLP, LayerNorm) acts on each position alone. `after_heads` runs that second half on vectors of any
leading shape, which is what `semanticbm.one_pass` is built on.

When it misleads: these names are BERT's. A DistilBERT or ModernBERT has the same parts under other names, and some of
them in another order; `semanticbm.ladder` therefore loads BERT models only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # seconds to import, and no name here is used but in annotations
    from transformers import BertForSequenceClassification


def layers(model):
    """The encoder layers, in order (chapter 2)."""
    return model.bert.encoder.layer


def self_attention(layer):
    """The module with the maps `query`, `key`, `value`; in nnsight its `.output[1]` is the attention pattern (chapter 2)."""
    return layer.attention.self


def z_projection(layer):
    """The linear map W_O that mixes the heads. Its *input* is z, float [batch, position, head * d_head].

    z is what the heads computed, before they are added up. After W_O the columns no longer belong to single heads:
    cutting its output into n_heads slices does not give heads (a common mistake). Chapter 2.
    """
    attention = layer.attention
    return attention.output.dense if isinstance(layer, torch.nn.Module) else attention.E_output.dense


def projection(layer, into: str):
    """The linear map that makes the queries ("q"), keys ("k") or values ("v") of all heads of a layer (chapter 2)."""
    return getattr(self_attention(layer), {"q": "query", "k": "key", "v": "value"}[into])


def mlp_projection(layer):
    """The second linear map of the MLP; its output is what the MLP adds to the residual stream (chapter 2)."""
    return layer.output.dense if isinstance(layer, torch.nn.Module) else layer.E_output.dense


def mlp_input(layer):
    """The first linear map of the MLP, from the residual stream to the hidden units (before GELU) (chapter 2)."""
    return layer.intermediate.dense


def word_embeddings(model):
    """The module that turns token ids into vectors; its weight is W_E, float [vocabulary, d_model] (chapter 2)."""
    return model.bert.embeddings.word_embeddings


def type_embeddings(model):
    """The module that marks the two texts: row 0 for [CLS] query [SEP], row 1 for document [SEP] (chapter 2)."""
    return model.bert.embeddings.token_type_embeddings


def pooler_projection(model):
    """The linear map that the last [CLS] vector goes through before tanh (chapter 2)."""
    return model.bert.pooler.dense


def classifier(model):
    """The last linear map, from the pooled vector to the score (chapter 2)."""
    return model.classifier


def embeddings(model):
    """The whole embedding block: words, positions, token types, LayerNorm. Its output enters layer 0 (chapter 2)."""
    return model.bert.embeddings


def after_heads(layer: torch.nn.Module, z: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """The rest of a layer once the heads have spoken: W_O, LayerNorm, MLP, LayerNorm.

    z: float [..., head * d_head], residual: float [..., d_model]. No position looks at another one here, so the leading
    axes can be anything; this is what makes exact path patching cheap (see `semanticbm.one_pass`). Chapter 2.
    """
    attended = layer.attention.output(z, residual)
    return layer.output(layer.intermediate(attended), attended)


def score_from_cls(hf: BertForSequenceClassification, cls: torch.Tensor) -> torch.Tensor:
    """Pooler and classifier on the last layer's [CLS] vectors: float [..., d_model] -> float [...] (chapter 2)."""
    pooled = hf.bert.pooler.activation(hf.bert.pooler.dense(cls))
    return hf.classifier(pooled)[..., 0]
