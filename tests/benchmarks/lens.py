"""Direct effects the way users of TransformerLens compute them: a `HookedEncoder`, and hooks on `hook_z`.

For each sender one run on the baseline, in which a hook in every layer sets z to the baseline's, and the sender's hook
also puts in its z from the perturbed run. The run stops at the encoder's output: TransformerLens would go on to the
masked-language head over the whole vocabulary, which a score does not need. That is in its favour here.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import torch
from transformers import BertConfig, BertForPreTraining

from semanticbm.bert import score_from_cls
from semanticbm.cross_encoder import CrossEncoder


def hooked_encoder(model: CrossEncoder):
    """A `HookedEncoder` with the weights of the cross-encoder's BERT."""
    from transformer_lens import HookedEncoder, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_bert_weights

    source = model.hf.config
    config = HookedTransformerConfig(
        n_layers=model.n_layers,
        d_model=model.d_model,
        d_head=model.d_head,
        n_heads=model.n_heads,
        d_mlp=source.intermediate_size,
        n_ctx=source.max_position_embeddings,
        eps=source.layer_norm_eps,
        d_vocab=source.vocab_size,
        act_fn="gelu",
        attention_dir="bidirectional",
        device=str(model.device),
    )
    with_heads = BertForPreTraining(BertConfig.from_dict(source.to_dict())).eval()  # the conversion wants all of BERT
    with_heads.bert.load_state_dict(model.hf.bert.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        encoder = HookedEncoder(config, move_to_device=True)
    encoder.load_state_dict(convert_bert_weights(with_heads, config), strict=False)
    return encoder.eval().requires_grad_(False)


def score(encoder, model: CrossEncoder, inputs: dict, hooks=()) -> torch.Tensor:
    """The score of one pair under hooks, through the cross-encoder's own pooler and classifier."""
    with encoder.hooks(fwd_hooks=list(hooks)):
        residual = encoder.encoder_output(inputs["input_ids"], inputs["token_type_ids"])
    return score_from_cls(model.hf, residual[:, 0])[0]


def read_z(encoder, model: CrossEncoder, inputs: dict) -> tuple[list[torch.Tensor], torch.Tensor]:
    """z of every layer, [batch, position, head, d_head], and the score."""
    kept = []
    hooks = [(f"blocks.{layer}.attn.hook_z", lambda z, hook: kept.append(z.clone())) for layer in range(model.n_layers)]
    return kept, score(encoder, model, inputs, hooks)


def freeze_z(z, hook, baseline, perturbed=None, head=None):
    """Set all heads of a layer to the baseline, and one of them to the perturbed run."""
    z[:] = baseline
    if head is not None:
        z[:, :, head] = perturbed[:, :, head]
    return z


@torch.no_grad()
def direct_effects(encoder, model: CrossEncoder, baseline: dict, perturbed: dict) -> np.ndarray:
    """The metric for every head, one frozen run each: float [layer, head]. Inputs are tokenised already."""
    z_b, score_b = read_z(encoder, model, baseline)
    z_p, score_p = read_z(encoder, model, perturbed)
    scores = torch.empty(model.n_layers, model.n_heads)
    for sender in range(model.n_layers):
        for head in range(model.n_heads):
            hooks = [
                (
                    f"blocks.{layer}.attn.hook_z",
                    partial(
                        freeze_z, baseline=z_b[layer], perturbed=z_p[layer], head=head if layer == sender else None
                    ),
                )
                for layer in range(model.n_layers)
            ]
            scores[sender, head] = score(encoder, model, baseline, hooks)
    return ((scores - score_b) / (score_p - score_b)).numpy()
