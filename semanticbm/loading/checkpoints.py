"""Weights and tokenizers: from a folder or the model hub, checked against what their configuration promises.

transformers fills in whatever a checkpoint lacks with random numbers, and passes over what it does not know. For a book that
looks inside weights both are wrong results. So the loading report is read: missing, unexpected and misshapen weights, a
vocabulary that does not fit the embedding and a tokenizer that knows no word are errors. Weights are computed in float32,
whatever they were stored in. Only safetensors files are opened, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from semanticbm.errors import UserError

HUB_TIMEOUT_SECONDS = 3.0
COMMON_WORDS = ("the", "of", "and", "water", "house", "time")  # a tokenizer that knows none of these knows no English
SPARE_ROWS = 128  # embeddings are often padded to a round number of rows
SIZES = (
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_hash(path: Path, expected: str, what: str) -> None:
    """`UserError` unless the file has this SHA-256."""
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{what}: {path.name} has sha256 {found[:12]}..., expected {expected[:12]}...: the file is damaged "
            "or is another version. Delete it and install or download it again."
        )


# ---- The hub -------------------------------------------------------------------------------------------------------


def hub_in_reach() -> bool:
    """True if the model hub answers within `HUB_TIMEOUT_SECONDS`, through a proxy if one is set; asked once."""
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_SECONDS).close()
        return True
    except OSError as error:
        return isinstance(error, HTTPError)  # a refusal is an answer, too


def download(repo: str, revision: str | None, instead: str = "or use --model classroom") -> Path:
    """Fetch a model's config, tokenizer and safetensors from the hub at a fixed revision."""
    wanted = ["config.json", "model.safetensors", "tokenizer*", "vocab.txt", "special_tokens_map.json"]
    offline = not hub_in_reach()
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except RevisionNotFoundError:
        raise UserError(f"{repo} has no revision {revision!r}: name a commit, a tag or a branch.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(f"unknown model {repo!r}: use a model of the ladder, a folder, or a hub id.") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise UserError(
            f"the model hub is out of reach, so {repo} cannot be fetched ({reason}): connect to the internet, {instead}."
        ) from None


# ---- Weights -------------------------------------------------------------------------------------------------------


@contextmanager
def quiet_loading():
    """Silence the loading report of transformers and a deprecation inside peft: our own checks replace them."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)


def read_config(folder: Path, name: str):
    """The configuration of a BERT with one logit; `UserError` for any other, or for sizes that no network can have."""
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever a foreign config.json makes transformers raise
        raise UserError(f"{name}: config.json cannot be read ({_first_line(error)}): fetch the model again.") from None
    if config.model_type != "bert" or config.num_labels != 1:
        raise UserError(
            f"{name} is a {config.model_type} with {config.num_labels} labels: a BERT with one logit is needed."
        )
    for size in SIZES:
        value = getattr(config, size, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{name}: config.json has {size} = {value!r}: it must be a whole number above 0.")
    if config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"{name}: {config.hidden_size} numbers cannot be shared out to {config.num_attention_heads} heads."
        )
    check_kind(config, name)
    return config


def check_kind(config, name: str) -> None:
    """`UserError` for a BERT that is no cross-encoder of two texts, though its weights have the usual names and shapes."""
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise UserError(f"{name} is a decoder: a cross-encoder, in which every token sees every other, is needed.")
    if config.type_vocab_size < 2:
        raise UserError(
            f"{name} cannot tell two texts apart (type_vocab_size = {config.type_vocab_size}): 2 are needed."
        )
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute":
        raise UserError(f"{name} has {positions} positions: only absolute ones are read.")


def read_classifier(folder: Path, name: str) -> BertForSequenceClassification:
    """The classifier of a folder, in float32; `UserError` unless its weights are exactly what its configuration needs."""
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} has no model.safetensors: only safetensors weights are loaded.")
    config = read_config(folder, name)
    check_sizes(folder / "model.safetensors", config, name)
    try:
        with quiet_loading():
            hf, report = BertForSequenceClassification.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except Exception as error:  # whatever damaged weights make transformers raise
        raise UserError(f"{name}: the weights cannot be read ({_first_line(error)}): fetch them again.") from None
    check_report(report, name)
    broken = next((key for key, value in hf.state_dict().items() if not torch.isfinite(value).all()), None)
    if broken:
        raise UserError(f"{name}: the weight {broken} has entries that are not numbers: fetch the model again.")
    return hf


def check_sizes(path: Path, config, name: str) -> None:
    """`UserError` if no weight of the file has a size that config.json promises: found before such a network is built."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{name}: the weights cannot be read ({_first_line(error)}): fetch them again.") from None
    dimensions = {dimension for shape in shapes for dimension in shape}
    fits = {size: getattr(config, size) in dimensions for size in SIZES} | {
        "num_hidden_layers": config.num_hidden_layers <= len(shapes),
        "num_attention_heads": True,  # no weight shows how its columns are shared out
    }
    wrong = next((size for size in SIZES if not fits[size]), None)
    if wrong:
        raise UserError(
            f"{name}: the weights do not fit config.json: it has {wrong} = {getattr(config, wrong)}, and {path.name} has "
            "no such weights. Is it a trained cross-encoder?"
        )


def check_report(report: dict, name: str) -> None:
    """`UserError` that lists what a checkpoint lacks, what it has beside, and what has another shape."""
    beside = [key for key in report["unexpected_keys"] if not key.endswith("position_ids")]  # a counter, not a weight
    kinds = {"missing": report["missing_keys"], "unexpected": beside, "of another shape": report["mismatched_keys"]}
    found = [f"{len(keys)} {kind} ({some(keys)})" for kind, keys in kinds.items() if keys]
    if found:
        raise UserError(
            f"{name}: the weights do not fit config.json: {'; '.join(found)}. Is it a trained cross-encoder?"
        )


def some(keys: Iterable, most: int = 3) -> str:
    """The first keys, in order, as text."""
    names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def merge_adapter(backbone: BertForSequenceClassification, folder: Path) -> BertForSequenceClassification:
    """The backbone with a LoRA adapter merged into its weights: W + (alpha / r) B A, computed once in float32.

    The adapter's hash must be the one in `semanticbm.json` beside it, and its weights exactly those that it configures.
    """
    from peft import PeftModel  # here, because only adapters need it, and it takes a second
    from peft.utils import get_peft_model_state_dict

    weights, card = folder / "adapter_model.safetensors", folder / "semanticbm.json"
    if not weights.is_file() or not card.is_file():
        raise UserError(f"no adapter in {folder}: it needs adapter_model.safetensors and semanticbm.json.")
    try:
        expected = json.loads(card.read_text(encoding="utf-8"))["adapter_sha256"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{card} is damaged: it must be JSON with the key adapter_sha256.") from None
    check_hash(weights, expected, "adapter")
    try:
        stored = set(load_file(weights))
        with quiet_loading():
            model = PeftModel.from_pretrained(backbone, str(folder))
    except Exception as error:  # whatever a damaged adapter makes peft raise
        raise UserError(f"adapter: {weights} is damaged ({_first_line(error)}): fetch it again.") from None
    needed = set(get_peft_model_state_dict(model, save_embedding_layers=False))  # "auto" would ask the model hub
    check_report(
        {"missing_keys": needed - stored, "unexpected_keys": stored - needed, "mismatched_keys": []}, "adapter"
    )
    with quiet_loading():
        return model.merge_and_unload()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


# ---- Tokenizers ----------------------------------------------------------------------------------------------------


def read_tokenizer(folder: Path, name: str = "tokenizer"):
    """The fast tokenizer of a folder, without truncation or padding; special tokens in a text are text.

    `UserError` if it cannot be read or knows no word.
    """
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except Exception as error:  # whatever foreign tokenizer files make transformers raise
        raise UserError(
            f"{name}: the tokenizer cannot be read ({_first_line(error)}): fetch the model again."
        ) from None
    unknown = tokenizer.unk_token_id
    pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in COMMON_WORDS]
    if not any(ids and unknown not in ids for ids in pieces):
        raise UserError(
            f"{name}: the tokenizer knows no word: its files are missing from {folder}. Fetch the model again."
        )
    return plain(tokenizer)


def plain(tokenizer):
    """The tokenizer without truncation or padding of its own, and with "[SEP]" in a text read as text."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.split_special_tokens = True
    tokenizer.model_max_length = int(1e9)  # long pairs are reported by `CrossEncoder.encode`
    return tokenizer


def check_vocabulary(hf: BertForSequenceClassification, tokenizer, name: str) -> None:
    """`UserError` unless the embedding has a row for each piece of the vocabulary, and not many more."""
    rows, pieces = hf.config.vocab_size, len(tokenizer)
    if not pieces <= rows < pieces + SPARE_ROWS:
        raise UserError(
            f"{name}: the tokenizer has {pieces:,} pieces, the embedding {rows:,} rows: they are not of one model."
        )
