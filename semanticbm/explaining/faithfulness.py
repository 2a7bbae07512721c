"""Is the explanation faithful? `python -m semanticbm.explaining.faithfulness --out FILE`: shares against what cuts show.

For each pair, every method gives each query term a number, and cutting the term says what it was really worth. Two cuts:

- *taken out*: S(q, d) - S(q without the term, d), what the score loses;
- *taken out, against fillers*: the same minus what a document of fillers loses. Taking a word out also changes how high the
  query scores any document; here that part is gone, and what is left is what the term found in *this* document.

The number reported is Spearman's rank correlation of the two over the terms of a query, mean over its documents, then the
mean over queries with a 95 % bootstrap interval. Queries of fewer than `LEAST_TERMS` words are left out. Beside the shares of
`semanticbm.explaining` stand the methods that a practitioner would use (`semanticbm.explaining.rivals`), the weight of a term
without its signal, and BM25.

Three collections: the classroom's, and Cranfield and SciFact (passages of 60 words), on which no choice was made. For each
query the documents are spread over BM25's best 20. Queries are measured in turn over the collections and stored one by one,
so a run that is stopped goes on where it was, and what is stored is a result at any time.

When it misleads: a rank correlation over five terms is coarse, and single queries scatter by half a unit. And a cut is one
question among several: a term may matter for the order of documents and not for the score.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semanticbm.classroom_model.data import data_folder
from semanticbm.collection import Collection, load_collection, words
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.evaluation import bootstrap_mean, spearman
from semanticbm.explaining.explanation import Explanation, explain_many
from semanticbm.explaining.reading import filler_pair
from semanticbm.ladder import load
from semanticbm.retrieval import bm25_run
from semanticbm.study.causes import query_words, without
from semanticbm.study.fresh_sets import sets
from semanticbm.study.results import results_folder
from semanticbm.study.sealed import read_sealed, write_sealed

FRESH = ("cranfield", "scifact")
EFFECTS = ("taken out", "taken out, against fillers")
SHARE = "share = weight x signal"
ASKING = ("KernelSHAP", "occlusion by [MASK]")  # methods that score altered queries
FILE = "faithfulness.json"
LEAST_TERMS = 4
DEPTH = 20


def collections(folder: Path) -> dict[str, Collection]:
    """The classroom collection and those on which no choice was made."""
    fresh = sets(folder)
    return {"classroom": load_collection("classroom")} | {name: fresh[name]() for name in FRESH}


def chosen_queries(collection: Collection, n: int, seed: int = 0) -> list[str]:
    """The ids of `n` queries of at least `LEAST_TERMS` words, in random order."""
    long_enough = [
        query for query in sorted(collection.queries) if len(words(collection.queries[query])) >= LEAST_TERMS
    ]
    return np.random.default_rng(seed).permutation(long_enough)[:n].tolist()


def spread_documents(collection: Collection, query: str, n: int) -> list[str]:
    """Texts of `n` documents, spread evenly over BM25's best `DEPTH`."""
    ranked = list(bm25_run(collection, DEPTH, queries=[query])[query])
    places = np.unique(np.linspace(0, len(ranked) - 1, n).round().astype(int))
    return [collection.documents[ranked[place]] for place in places]


def effects(model: CrossEncoder, found: Explanation) -> dict[str, np.ndarray]:
    """What the score loses when each term is taken out, plainly and against fillers: {effect: float [term]}."""
    fillers = filler_pair(found.query, len(found.document_pieces))[1]
    texts = [found.query, *(without(found.query, characters) for characters, _ in query_words(model, found.query))]
    scores = model.score_pairs([(text, document) for text in texts for document in (found.document, fillers)])
    lost = scores.reshape(-1, 2)[0] - scores.reshape(-1, 2)[1:]
    return dict(zip(EFFECTS, (lost[:, 0], lost[:, 0] - lost[:, 1]), strict=True))


def credits(model: CrossEncoder, found: Explanation) -> dict[str, np.ndarray]:
    """What each method says of each term: {method: float [term]}."""
    from semanticbm.explaining.rivals import Rivals  # here, because only measuring needs captum

    own = {
        SHARE: [term.share for term in found.terms],
        "weight alone": [term.weight for term in found.terms],
        "best pieces, by the matching heads": [sum(token.share for token in term.tokens) for term in found.terms],
        "BM25": [term.bm25.score for term in found.terms],
    }
    pieces = [term.pieces for term in found.terms]
    rivals = Rivals(model, (found.query, found.document), pieces).all()
    return {name: np.array(values) for name, values in own.items()} | rivals


def agreement(model: CrossEncoder, collection: Collection, query: str, n_documents: int) -> dict:
    """Mean rank correlation over the documents of one query: {effect: {method: number or NaN}}."""
    text = collection.queries[query]
    pairs = [(text, document) for document in spread_documents(collection, query, n_documents)]
    by_pair = []
    for found in explain_many(model, pairs, collection):
        lost, said = effects(model, found), credits(model, found)
        by_pair.append({e: {m: spearman(said[m], lost[e]) for m in said} for e in EFFECTS})
    return {
        effect: {method: _mean([row[effect][method] for row in by_pair]) for method in by_pair[0][effect]}
        for effect in EFFECTS
    }


def _mean(values: list[float]) -> float:
    """Mean of all known values; 0 for a method that says the same of every term in all documents."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else 0.0


def summary(stored: dict) -> list[dict]:
    """One row a collection, effect and method: mean over queries with its interval, and the number of queries."""
    rows = []
    for name, queries in stored["sets"].items():
        for effect in EFFECTS:
            for method in next(iter(queries.values()))[effect]:
                mean, low, high = bootstrap_mean([of_query[effect][method] for of_query in queries.values()])
                row = {"collection": name, "effect": effect, "method": method}
                rows.append(row | {"mean": mean, "low": low, "high": high, "n": len(queries)})
    return rows


def stored_summary() -> list[dict]:
    """The rows of the stored run, book/results/faithfulness.json; [] if there is none."""
    path = results_folder() / FILE
    return summary(read_sealed(path)) if path.is_file() else []


def wide_rows(rows: list[dict], effect: str) -> list[dict]:
    """One row a method for one effect, one column a collection: "0.41 [0.30, 0.52]"; the best on average first."""
    of_effect = [row for row in rows if row["effect"] == effect]
    means: dict[str, list[float]] = {}
    for row in of_effect:
        means.setdefault(row["method"], []).append(row["mean"])
    return [
        {"method": method}
        | {
            f"{row['collection']}, n = {row['n']}": f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            for row in of_effect
            if row["method"] == method
        }
        for method in sorted(means, key=lambda method: -float(np.mean(means[method])))
    ]


def in_words(rows: list[dict]) -> str:
    """Which methods that do not ask the model anew are above the shares, and which below: a sentence a collection."""
    sentences = []
    for name in dict.fromkeys(row["collection"] for row in rows):
        means = {
            row["method"]: row["mean"] for row in rows if row["collection"] == name and row["effect"] == EFFECTS[1]
        }
        above = [method for method, mean in means.items() if method not in (SHARE, *ASKING) and mean > means[SHARE]]
        sentences.append(
            f"- {name}: shares {means[SHARE]:.2f}; of the methods that do not ask the model anew, "
            f"{', '.join(f'{method} ({means[method]:.2f})' for method in above) or 'none'} stands above them."
        )
    return "\n".join(sentences) or "The stored results do not hold this measurement."


def measured(
    model: CrossEncoder, by_name: dict[str, Collection], done: dict[str, dict], n_queries: int, n_documents: int
) -> Iterator[tuple[str, str, dict]]:
    """(collection, query, agreement), the collections in turn; what is `done` is left out."""
    chosen = {name: chosen_queries(collection, n_queries) for name, collection in by_name.items()}
    for turn in range(n_queries):
        for name, queries in chosen.items():
            if turn < len(queries) and queries[turn] not in done.get(name, {}):
                yield name, queries[turn], agreement(model, by_name[name], queries[turn], n_documents)


def main(arguments: list[str] | None = None) -> None:
    """Measure the queries that are not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="classroom", help="a model of the ladder or a folder")
    parser.add_argument("--queries", type=int, default=40, help="queries of each collection")
    parser.add_argument("--documents", type=int, default=4, help="documents of each query")
    parser.add_argument("--out", type=Path, required=True, help="file for the results, such as faithfulness.json")
    parser.add_argument("--data", type=Path, default=None, help="folder with the data of others, else SEMANTICBM_DATA")
    options = parser.parse_args(arguments)
    model = load(options.model)
    stored = {"model": model.name, "weights_sha256": model.source, "documents": options.documents, "sets": {}}
    if options.out.is_file():
        before = read_sealed(options.out)
        if any(before[key] != stored[key] for key in ("model", "weights_sha256", "documents")):
            raise UserError(f"{options.out} is of another model or number of documents: name another file.")
        stored["sets"] = before["sets"]
    by_name = collections(data_folder(options.data))
    for name, query, found in measured(model, by_name, stored["sets"], options.queries, options.documents):
        stored["sets"].setdefault(name, {})[query] = found
        write_sealed(options.out, stored)
        print(f"{name}: query {query} stored", flush=True)


if __name__ == "__main__":
    main()
