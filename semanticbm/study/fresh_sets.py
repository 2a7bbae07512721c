"""Chapter 9 on collections that no choice was made on: `python -m semanticbm.study.fresh_sets MODEL [--out FILE]`.

Heads are those that the reproduction found on the classroom collection for the same model; directions come from other queries
of the same collection; the verdict rules stand in `claims.toml`. Three collections of others (Cranfield, SciFact in passages
of 60 words, NFCorpus) and the paper's own pairs. Each set is stored when it is done, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from semanticbm.classroom_model import examination
from semanticbm.classroom_model.data import data_folder
from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.heads import Head, parse_head
from semanticbm.idf import idf_values
from semanticbm.ladder import backbone_tokenizer, load, load_backbone_classifier, random_classifier
from semanticbm.retrieval import bm25_run
from semanticbm.study.claims import judge, rules
from semanticbm.study.paper_data import paper_collection
from semanticbm.study.readings import Run
from semanticbm.study.results import load_results
from semanticbm.study.sealed import plain, read_sealed, write_sealed
from semanticbm.study.side_by_side import Subject, compare

WORDS_IN_PASSAGE = 60
N_CHOOSE, N_MEASURE, DEPTH = 12, 30, 20


def passages(collection: Collection, size: int = WORDS_IN_PASSAGE) -> Collection:
    """The collection with each document cut into passages of `size` words; judgements are left out."""
    documents = {
        f"{identifier}#{number}": window
        for identifier, text in collection.documents.items()
        for number, window in enumerate(examination.windows(text, size, size))
    }
    return replace(collection, documents=documents, judgements={})


def sets(folder: Path) -> dict[str, Callable[[], Collection]]:
    """The collections by name, loaded when they are asked for."""
    return {
        "cranfield": lambda: passages(examination.cranfield(folder)),
        "scifact": lambda: passages(examination.scifact(folder)),
        "nfcorpus": lambda: passages(examination.nfcorpus(folder)),
        "paper": paper_collection,
    }


def runs(collection: Collection, seed: int = 0) -> tuple[Run, Run]:
    """Queries that choose and queries that are measured, each with BM25's best passages (the paper's: its own)."""
    order = np.random.default_rng(seed).permutation(sorted(collection.queries)).tolist()
    chosen = order[: N_CHOOSE + N_MEASURE]
    if collection.name == "paper":
        found = {query: list(collection.judgements[query])[:DEPTH] for query in chosen}
    else:
        found = {query: list(row) for query, row in bm25_run(collection, DEPTH, queries=chosen).items()}
    found = {query: documents for query, documents in found.items() if len(documents) >= 5}
    queries = list(found)
    middle = len(queries) * N_CHOOSE // (N_CHOOSE + N_MEASURE)
    return ({query: found[query] for query in part} for part in (queries[:middle], queries[middle:]))


def heads_found(name: str) -> tuple[list[Head], list[Head]]:
    """Matching heads and relays of a stored run of the classroom collection."""
    found = load_results(name).report["heads"]
    return [parse_head(head) for head in found["matching"]], [parse_head(head) for head in found["contextual"]]


def untrained() -> dict[str, CrossEncoder]:
    """Networks of the classroom model's shape that learned nothing of this task."""
    tokenizer = backbone_tokenizer()
    return {
        "random network": CrossEncoder(random_classifier(), tokenizer, "random network"),
        "backbone, fresh classifier": CrossEncoder(load_backbone_classifier(), tokenizer, "backbone"),
    }


def measured(model: CrossEncoder, stored: str, folder: Path, done: Container[str] = ()) -> Iterator[tuple[str, dict]]:
    """(set, everything that was measured on it, with the verdicts) one after the other, those in `done` left out."""
    matching, relays = heads_found(stored)
    idf = idf_values("msmarco", folder=folder)
    for name, make in sets(folder).items():
        if name in done:
            continue
        collection = make()
        choose, measure = runs(collection)
        subject = Subject(model, collection, matching, relays, choose, measure, idf)
        part = compare(subject, untrained(), label=f"{name}, {model.name}")
        claims = [judge(rule, part["findings"]) for rule in rules() if rule["experiment"] == "written"]
        yield name, part | {"claims": claims}


def main(arguments: list[str] | None = None) -> None:
    """Measure the sets that are not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model of the ladder or the folder of an adapter")
    parser.add_argument("--stored", default="classroom", help="the stored run whose heads are read")
    parser.add_argument("--out", type=Path, required=True, help="file for the results, for example fresh.json")
    parser.add_argument("--data", type=Path, default=None, help="folder with the data of others, else SEMANTICBM_DATA")
    options = parser.parse_args(arguments)
    done = read_sealed(options.out)["sets"] if options.out.is_file() else {}
    model, folder = load(options.model), data_folder(options.data)
    for name, part in measured(model, options.stored, folder, list(done)):
        done[name] = plain(part)
        write_sealed(options.out, {"model": model.name, "weights_sha256": model.source, "sets": done})
        print(f"{name}: stored in {options.out}", flush=True)


if __name__ == "__main__":
    main()
