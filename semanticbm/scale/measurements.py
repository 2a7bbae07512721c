"""What is measured on a batch of rows, and what becomes of the rows that cannot be measured.

A *row* holds query_id, query, document_id and document; for effects also `baseline`, the document without the change. A
measurement is the local function, called on the rows of a batch. One bad row among millions must stop nobody: a batch that
raises is halved until the bad row stands alone, and that row is rejected with its reason. The same halving serves a batch that
is too large for the memory, and the worker remembers the size that fitted.

When it misleads: a rejected row is missing from every mean that is taken later. So count the rejects before you compare.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semanticbm.cross_encoder import CrossEncoder, Pair
from semanticbm.errors import TruncationWarning, UserError
from semanticbm.path_patching import direct_effects_many
from semanticbm.written import source_mask

Row = dict
Measurement = Callable[[CrossEncoder, list[Row]], list[Row]]
SHARE_OF_FREE_MEMORY = 0.5
ATTENTION_COPIES = 4  # scores, mask, softmax and its result


def pairs_of(rows: list[Row], document: str = "document") -> list[Pair]:
    """(query, document) of each row; `UserError` if one of the texts is not there."""
    missing = next((name for row in rows for name in ("query", document) if row.get(name) is None), None)
    if missing:
        raise UserError(f"the {missing} is empty: give it at least one word.")
    return [(row["query"], row[document]) for row in rows]


def score_pairs(model: CrossEncoder, rows: list[Row]) -> list[Row]:
    """`score`, the raw logit of each pair (chapter 2)."""
    scores = model.score_pairs(pairs_of(rows), batch_size=len(rows))
    return [{"score": float(score)} for score in scores]


@torch.no_grad()
def features(model: CrossEncoder, rows: list[Row]) -> list[Row]:
    """`score`, the query's `pieces`, and MS of all heads as `matching`, flat [layer, head, query piece] (chapter 5).

    `matching_scores` of chapter 5 for a whole batch: the patterns stay on the device, and only the sums leave it.
    """
    encoding = model.encode(pairs_of(rows))
    output = model.hf(**encoding.inputs, output_attentions=True)
    on_document = source_mask(encoding, "document")[:, None, :, None]
    masses = [(pattern @ on_document).squeeze(-1) for pattern in output.attentions]
    matching = torch.stack(masses, dim=1).cpu().numpy()  # [batch, layer, head, position]
    found = []
    for row, span in enumerate(encoding.query_spans):
        pieces = encoding.input_ids[row, slice(*span)].tolist()
        found.append(
            {
                "score": float(output.logits[row, 0]),
                "pieces": model.tokenizer.convert_ids_to_tokens(pieces),
                "matching": matching[row, :, :, slice(*span)].ravel().tolist(),
            }
        )
    return found


def direct_effects(model: CrossEncoder, rows: list[Row]) -> list[Row]:
    """Direct effects of all heads in logits as `effects`, flat [layer, head], and both scores (chapter 4)."""
    found = direct_effects_many(model, pairs_of(rows, "baseline"), pairs_of(rows), batch_size=len(rows))
    return [
        {"baseline_score": float(before), "perturbed_score": float(after), "effects": effects.ravel().tolist()}
        for effects, before, after in zip(found.effects, found.baseline, found.perturbed, strict=True)
    ]


MEASUREMENTS: dict[str, Measurement] = {"score": score_pairs, "features": features, "effects": direct_effects}


def rows_that_fit(model: CrossEncoder, most: int) -> int:
    """How many rows of the longest kind fit into the GPU's free memory, at most `most`; on other devices `most`."""
    if model.device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(model.device)
    a_row = ATTENTION_COPIES * model.hf.dtype.itemsize * model.n_layers * model.n_heads * model.max_length**2
    return max(1, min(most, int(SHARE_OF_FREE_MEMORY * free / a_row)))


@dataclass(frozen=True)
class Measured:
    """Rows with their ids and numbers, and rejected rows with their ids and a `reason`; both in the order of the input."""

    rows: list[Row]
    rejects: list[Row]


@dataclass
class BatchRunner:
    """Measures rows in batches of at most `size`, texts of like length together; `size` falls where memory ends."""

    model: CrossEncoder
    measurement: Measurement
    size: int

    def run(self, rows: list[Row]) -> Measured:
        """Every row comes out once, measured or rejected."""
        measured: dict[int, Row] = {}
        rejects: dict[int, Row] = {}
        left = sorted(enumerate(rows), key=lambda numbered: _characters(numbered[1]), reverse=True)
        while left:
            batch, left = left[: self.size], left[self.size :]
            self._measure(batch, measured, rejects)
        return Measured(*([found[number] for number in sorted(found)] for found in (measured, rejects)))

    def _measure(self, numbered: list[tuple[int, Row]], measured: dict[int, Row], rejects: dict[int, Row]) -> None:
        """Put each row with its number into `measured` or `rejects`; halves what raises until the bad row stands alone."""
        rows = [row for _, row in numbered]
        try:
            found = self._strictly(rows)
        except (torch.OutOfMemoryError, UserError, TruncationWarning) as error:
            if isinstance(error, torch.OutOfMemoryError):
                self._shrink(len(rows))
            if len(rows) == 1:
                rejects[numbered[0][0]] = _ids(rows[0]) | {"reason": " ".join(str(error).split())}
                return
            for half in (numbered[: len(rows) // 2], numbered[len(rows) // 2 :]):
                self._measure(half, measured, rejects)
        else:
            measured |= {n: _ids(row) | numbers for (n, row), numbers in zip(numbered, found, strict=True)}

    def _strictly(self, rows: list[Row]) -> list[Row]:
        """The measurement, with a document that would be cut off as an error."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", TruncationWarning)
            return self.measurement(self.model, rows)

    def _shrink(self, too_many: int) -> None:
        self.size = max(1, too_many // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _ids(row: Row) -> Row:
    return {"query_id": row["query_id"], "document_id": row["document_id"]}


def _characters(row: Row) -> int:
    """How long the texts are together."""
    return sum(len(str(row.get(name) or "")) for name in ("query", "document", "baseline"))
