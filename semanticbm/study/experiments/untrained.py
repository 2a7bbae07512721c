"""Models to compare a trained one with: what it was before it learned to score pairs, and a random network of its shape."""

from __future__ import annotations

import copy

import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from semanticbm.bert import word_embeddings
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.ladder import RANDOM_SPREAD, load_backbone_classifier, seeded_torch
from semanticbm.loading.checkpoints import hub_in_reach
from semanticbm.study.paper_model import NAME as PAPER_MODEL
from semanticbm.study.study import Study

PAPER_PARENT = "microsoft/MiniLM-L12-H384-uncased"  # what cross-encoder/ms-marco-MiniLM-L-12-v2 was trained from
SAME_EMBEDDINGS = 0.9  # mean cosine of word vectors above which two models come from one pretraining


def parent_of(study: Study) -> CrossEncoder | None:
    """The study's model before any training on pairs, with the same tokenizer; None if it is not known or not in reach."""
    hf = _paper_parent(study.seed) if study.model.name == PAPER_MODEL else _backbone_if_parent(study)
    return None if hf is None else CrossEncoder(hf, study.model.tokenizer, "its own backbone", study.model.device)


def _backbone_if_parent(study: Study) -> BertForSequenceClassification | None:
    """The classroom model's backbone, if the model has its shape and its word vectors."""
    if (study.model.n_layers, study.model.d_model) != (6, 384):
        return None
    backbone = load_backbone_classifier(study.seed)
    ours, theirs = (word_embeddings(hf).weight.detach().cpu() for hf in (study.model.hf, backbone))
    if ours.shape != theirs.shape:
        return None
    alike = torch.cosine_similarity(ours.float(), theirs.float(), dim=1).mean()
    return backbone if alike > SAME_EMBEDDINGS else None


def _paper_parent(seed: int) -> BertForSequenceClassification | None:
    if not hub_in_reach():
        return None
    try:
        with seeded_torch(seed):
            return AutoModelForSequenceClassification.from_pretrained(
                PAPER_PARENT, num_labels=1, use_safetensors=True, attn_implementation="eager"
            )
    except OSError:
        return None


def random_like(model: CrossEncoder, seed: int = 0) -> CrossEncoder:
    """A network of the model's shape and tokenizer that has learned nothing."""
    config = copy.deepcopy(model.hf.config)
    config.initializer_range = RANDOM_SPREAD
    config._attn_implementation = "eager"
    with seeded_torch(seed + 1):  # the ladder's own random model has seed 0: it must not be its own control
        hf = BertForSequenceClassification(config)
    return CrossEncoder(hf, model.tokenizer, "a random network of its shape", model.device)
