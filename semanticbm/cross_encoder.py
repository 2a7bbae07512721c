"""The cross-encoder: one model for a query and a document read together.

A cross-encoder reads `[CLS] query [SEP] document [SEP]` as one sequence. Every token can attend to every other token, so
the query can look into the document while both are read. The last layer's [CLS] vector goes through a pooler
(a linear map and tanh) and a classifier (a linear map to one number): that number, the raw logit, is the score.

`CrossEncoder` holds such a model with its tokenizer: `encode` turns pairs of texts into tokens and says where each text
lies, `score` gives logits, `attention` the attention patterns, `traced` the nnsight wrapper for interventions.
`semanticbm.ladder` loads one by name; `semanticbm.bert` names its parts.

Shapes use one vocabulary everywhere: batch, query, document, layer, head, position. Heads are written `layer.head`,
both counted from 0.

When it misleads: a score is a raw logit. It orders the documents of one query; across queries it means little.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import BertForSequenceClassification

from semanticbm.errors import TruncationWarning, UserError, warn_caller
from semanticbm.loading.texts import without_surrogates

Pair = tuple[str, str]
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Encoding:
    """A batch of (query, document) pairs as token ids, with the place of each text.

    `input_ids`, `attention_mask`, `token_type_ids`: int [batch, position].
    `query_spans`, `document_spans`: one (start, stop) per pair; positions of the pieces, without [CLS] and [SEP].
    `word_ids`: for each pair and position the index of the word in its text, None at special tokens.
    `truncated`: indices of the pairs that lost document tokens. Chapter 2.
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
        return {name: getattr(self, name) for name in INPUT_NAMES}

    @property
    def lengths(self) -> Tensor:
        """Number of real (not padded) tokens of each pair: int [batch]."""
        return self.attention_mask.sum(dim=1)

    @property
    def visible(self) -> Tensor:
        """True at what any position may look at, False at padding: bool [batch, 1, 1, position], as attention takes it."""
        return self.attention_mask.bool()[:, None, None, :]

    def __len__(self) -> int:
        return len(self.input_ids)


def _span(sequence_ids: list[int | None], which: int) -> tuple[int, int]:
    positions = [position for position, side in enumerate(sequence_ids) if side == which]
    return (positions[0], positions[-1] + 1) if positions else (0, 0)


def _check_pieces(sides: list[list[int | None]]) -> None:
    """`UserError` if the tokenizer found nothing to read in a text, such as one of zero-width characters."""
    for number, side in enumerate(sides):
        for which, name in enumerate(("query", "document")):
            if which not in side:
                raise UserError(f"pair {number}: the {name} has no character that the model can read: give it a word.")


def check_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs as a list; raise `UserError` if a text is empty or is not a string (chapter 2)."""
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


class CrossEncoder:
    """A BERT sequence classifier with one logit, its tokenizer, and what the experiments need to know about both.

    `hf` is the Hugging Face model (eager attention, evaluation mode, no gradients), `tokenizer` the fast tokenizer,
    `name` what figures and reports print, `source` the sha256 of the weights file that it was loaded from, if any. Chapter 2.
    """

    def __init__(
        self,
        hf: BertForSequenceClassification,
        tokenizer,
        name: str,
        device: torch.device | str = "cpu",
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
    def head_shape(self) -> tuple[int, int]:
        """Number of layers and heads a layer: the shape of every array [layer, head]."""
        return self.n_layers, self.n_heads

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.hf.device

    @cached_property
    def traced(self):
        """The nnsight wrapper of `hf`: interventions are written in `with model.traced.trace(**inputs):`."""
        from nnsight import NNsight  # here, because it takes seconds, and scoring does not need it

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*output.*")  # the rename to E_output, twice a layer
            return NNsight(self.hf)

    def encode(self, pairs: Iterable[Pair], truncate: bool = True) -> Encoding:
        """Tokenise pairs into one padded batch with the spans of both texts.

        A pair over `max_length` tokens loses document tokens from its end. With `truncate=True` this is reported by a
        `TruncationWarning`, with `truncate=False` it is a `UserError`. A query that alone fills the window is an error.
        """
        pairs = [tuple(map(without_surrogates, pair)) for pair in check_pairs(pairs)]
        queries, documents = (list(side) for side in zip(*pairs, strict=True))
        how = {"padding": True, "return_token_type_ids": True}
        batch = self.tokenizer(queries, documents, **how)
        lengths = [sum(mask) for mask in batch["attention_mask"]]
        truncated = [number for number, length in enumerate(lengths) if length > self.max_length]
        if truncated:
            self._check_room_for_document(queries, truncated)
            self._report_truncation(truncated, lengths, truncate)
            batch = self.tokenizer(queries, documents, truncation="only_second", max_length=self.max_length, **how)
        sides = [batch.sequence_ids(number) for number in range(len(pairs))]
        _check_pieces(sides)
        return Encoding(
            **{name: torch.tensor(batch[name], device=self.device) for name in INPUT_NAMES},
            query_spans=[_span(side, 0) for side in sides],
            document_spans=[_span(side, 1) for side in sides],
            word_ids=[batch.word_ids(number) for number in range(len(pairs))],
            truncated=truncated,
        )

    def _report_truncation(self, truncated: list[int], lengths: list[int], allowed: bool) -> None:
        longest = max(lengths[number] for number in truncated)
        message = (
            f"{len(truncated)} of {len(lengths)} pairs are over {self.max_length} tokens (longest {longest}; first: "
            f"pair {truncated[0]}): the end of the document is cut off. Split long documents into passages."
        )
        if not allowed:
            raise UserError(message)
        warn_caller(message, TruncationWarning)

    def _check_room_for_document(self, queries: list[str], truncated: list[int]) -> None:
        for number in truncated:
            if len(self.tokenizer(queries[number])["input_ids"]) + 2 > self.max_length:
                raise UserError(
                    f"pair {number}: the query alone fills the model's {self.max_length} tokens: shorten it."
                )

    @property
    def usual_batch(self) -> int:
        """How many pairs run together: few fit a processor's cache (8 are 18 % faster than 32), a GPU wants many."""
        return 8 if self.device.type == "cpu" else 64

    def batches(
        self, pairs: Sequence[Pair], batch_size: int | None = None, label: str = "", longest_first: bool = False
    ) -> Iterator[tuple[list[int], Encoding]]:
        """Encoded batches with the numbers of their pairs, by default `usual_batch` together; with a `label`, a progress bar.

        `longest_first` puts pairs of like length together, so that batches waste little padding.
        """
        lengths = [len(query) + len(document) for query, document in pairs]
        for numbers in batch_numbers(lengths, batch_size or self.usual_batch, label, longest_first):
            yield numbers, self.encode([pairs[number] for number in numbers])

    def score_pairs(self, pairs: Iterable[Pair], batch_size: int | None = None, progress: bool = False) -> np.ndarray:
        """Scores (raw logits) of pairs: float [batch] (chapter 2)."""
        pairs, label = check_pairs(pairs), f"scoring with {self.name}" if progress else ""
        scores = np.empty(len(pairs))
        for numbers, encoding in self.batches(pairs, batch_size, label, longest_first=True):
            scores[numbers] = self.logits(encoding).double().cpu().numpy()
        if not np.isfinite(scores).all():
            raise UserError(f"{self.name} gave a score that is not a number: the weights are damaged. Load them again.")
        return scores

    def score(self, query: str, documents: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        """Scores (raw logits) of documents for one query: float [document]."""
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


def batch_numbers(
    lengths: Sequence[int], batch_size: int, label: str = "", longest_first: bool = False
) -> Iterator[list[int]]:
    """Numbers of the texts of each batch, in order or longest first; with a `label`, a progress bar (chapter 2)."""
    order = list(range(len(lengths)))
    if longest_first:
        order.sort(key=lambda number: -lengths[number])
    for start in progress_bar(range(0, len(order), batch_size), label):
        yield order[start : start + batch_size]


def progress_bar(items: Iterable, label: str) -> Iterable:
    """The items, with a progress bar while they are used if there is a `label` (chapter 2)."""
    return tqdm(items, desc=label, disable=not label, leave=False)
