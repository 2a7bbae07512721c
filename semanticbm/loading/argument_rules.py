"""What the type of an argument cannot say: numbers without annotation, names of measures and devices, two arguments together.

`semanticbm.loading.arguments` asks these rules after it has looked at the types. They stand here in tables, by function and
parameter, so that the functions that the book shows stay free of them.
"""

from __future__ import annotations

import math
from collections import abc
from numbers import Real

MOST_RANKS = 1_000_000_000  # the code behind the ranking measures counts in 32 bits
SITES = ("residual", "attention", "mlp", "heads")


class Misfit(Exception):
    """A value that does not fit: what was `wanted` instead, and `where` in the argument the value stands, such as [3]."""

    def __init__(self, value, wanted: str, where: str = ""):
        super().__init__(wanted)
        self.value, self.wanted, self.where = value, wanted, where


def demand(fits: bool, value, wanted: str) -> None:
    """`Misfit` unless it fits."""
    if not fits:
        raise Misfit(value, wanted)


# ---- One argument --------------------------------------------------------------------------------------------------


def is_numeric(value) -> None:
    """A number, or numbers that broadcast."""
    import numpy as np  # here, so that `import semanticbm` stays quick

    try:
        kind = np.asarray(value).dtype.kind
    except ValueError:  # rows of unequal length
        kind = ""
    demand(kind in "iuf" and kind != "" and np.size(value) > 0, value, "a number or an array of numbers")
    demand(not isinstance(value, Real) or math.isfinite(value), value, "a finite number")


def is_tokenizer(value) -> None:
    """A fast tokenizer."""
    demand(hasattr(value, "get_vocab"), value, "a tokenizer")


def is_tokenizer_if_any(value) -> None:
    """A fast tokenizer, or None: the random models of the exercises read token ids and no text."""
    demand(value is None or hasattr(value, "get_vocab"), value, "a tokenizer")


def is_measure(name: str) -> None:
    """A ranking measure as ir-measures writes it; a cutoff of 0 would end the process in the C code behind it."""
    import ir_measures

    try:
        cutoff = ir_measures.parse_measure(name).params.get("cutoff", 1)
    except (NameError, ValueError, TypeError, SyntaxError):
        raise Misfit(name, "a ranking measure such as nDCG@10, R@100 or RR") from None
    fits = type(cutoff) is int and 1 <= cutoff <= MOST_RANKS
    demand(fits, name, "a measure with a cutoff of 1 or more, such as nDCG@10")


def is_device(device) -> None:
    """A device on which a tensor can be made."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise Misfit(device, "a device that this machine has: cpu, cuda or mps") from None


def is_site(site: str) -> None:
    """A place of a layer that can be patched."""
    demand(site in SITES, site, f"one of {', '.join(SITES)}")


def has_items(value) -> None:
    """At least one item."""
    demand(value is None or len(value) > 0, value, "something with at least one item")


def is_storable(text: str) -> None:
    """Text without halves of surrogate pairs, which no encoding can write."""
    demand(not any("\ud800" <= character <= "\udfff" for character in text), text, "text without broken characters")


BY_FUNCTION = {
    "measure: name": is_measure,
    "CrossEncoder: tokenizer": is_tokenizer_if_any,
    "CrossEncoder: device": is_device,
    "read_site: site": is_site,
    "patched_scores: site": is_site,
    "site_of: site": is_site,
    "head_table: columns": has_items,
    "term_weights: heads": has_items,
    "attention_masses: heads": has_items,
    "attention_masses: pairs": has_items,
    "seeded: query_id": is_storable,
}
UNTYPED = {"tokenizer": is_tokenizer} | dict.fromkeys(
    ("tf", "length", "document_frequency", "beta", "sink"), is_numeric
)


# ---- Two arguments together ----------------------------------------------------------------------------------------


def same_length(x, y) -> None:
    """One value of y for each of x."""
    demand(len(x) == len(y), y, f"as long as x ({len(x)})")


def has_queries(collection, queries) -> None:
    """Every query id is in the collection."""
    for query in queries or ():
        demand(query in collection.queries, query, f"a query id of the collection {collection.name}")


def has_run(collection, run) -> None:
    """Every query and document of the run is in the collection."""
    has_queries(collection, run)
    for scores in run.values():
        for document in scores:
            demand(document in collection.documents, document, f"a document id of the collection {collection.name}")


def has_heads(model, heads) -> None:
    """Every head is in the model."""
    for head in heads or ():
        model.check_head(*head)


def has_words(pattern, query_words) -> None:
    """A word for each piece of the pattern's query."""
    needed = max(pattern.word_ids[pattern.query]) + 1
    demand(len(query_words) >= needed, query_words, f"the {needed} words of the query")


TOGETHER: dict[tuple[str, str], abc.Callable] = {
    ("x", "y"): same_length,
    ("x", "controls"): same_length,
    ("collection", "queries"): has_queries,
    ("collection", "run"): has_run,
    ("model", "heads"): has_heads,
    ("pattern", "query_words"): has_words,
}
