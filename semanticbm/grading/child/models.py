"""Random models for the exercises, made from a shape and a seed, the same in the judge and in the student's process."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from semanticbm.grading.child.protocol import Recipe


@lru_cache(maxsize=8)
def tiny_model(n_layers: int, n_heads: int, d_head: int, seed: int):
    """A random BERT, as a `CrossEncoder` without a tokenizer, whose weights are so large that every mistake moves the score.

    Biases are random, too: Hugging Face would start them at 0, and an answer that forgets one would pass.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from semanticbm.cross_encoder import CrossEncoder

    width = n_heads * d_head
    config = BertConfig(
        vocab_size=60,
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(1000 + seed)
        hf = BertForSequenceClassification(config)
        for name, weight in hf.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, 0, 0.3)
    model = CrossEncoder(hf, None, f"random BERT {n_layers}x{n_heads}")
    model.recipe = Recipe(n_layers, n_heads, d_head, seed)
    model.hf.recipe = replace(model.recipe, part="hf")
    model.traced.recipe = replace(model.recipe, part="traced")
    return model


def build(recipe: Recipe):
    """The model of a recipe, or the part of it that is meant."""
    model = tiny_model(recipe.n_layers, recipe.n_heads, recipe.d_head, recipe.seed)
    return model if recipe.part == "encoder" else {"hf": model.hf, "traced": model.traced}[recipe.part]
