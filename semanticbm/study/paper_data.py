"""The paper's own diagnostic data: 100 MS MARCO queries with 100 passages each.

The authors released the pairs for TFC1 and the words for STMC1 in their repository. The texts are MS MARCO's and are not
part of this package: they are read from a folder, or fetched from the repository at a fixed commit and checked by sha256.

What is rebuilt: the paper *appends* the selected query term to a passage; the released file has the version in which a
filler is *prepended*. So the filler is taken off, and both documents of a pair are built anew.

When it misleads: the queries were chosen on another ranker (TAS-B) because inserting a term had a large effect there. The
selected term is often a rare name. Effects on these queries are larger than on average ones. Many of the paper's "semantic"
words are not synonyms.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from semanticbm.collection import Collection
from semanticbm.diagnostics import Candidate, DiagnosticPair, Diagnostics, Kit, Pieces, Settings, Unbuildable
from semanticbm.errors import UserError
from semanticbm.loading.checkpoints import sha256

PAPER_URL = "https://raw.githubusercontent.com/mlu108/CrossEncoderBM25/{commit}/{name}"
# name: (commit of the authors' repository that has this version, sha256 of the file)
PAPER_FILES = {
    "tfc1_add_qids_with_text.csv": (
        "6c1e5003388a8dd6a805654a98eec5126c8dd51b",
        "88853e01271324a82821dce1c0654978355e938f8f8fecd9db9c4e151a04e173",
    ),
    "tfc1_add_baseline_final_dd_corpus.json": (
        "f7faf78a7bc0ca7d95713868925cf875e3cca429",
        "8fd6ba75ab8903ff1937c2dbfae6d868ba0476c2064c29b99c89e7a4cbf7486e",
    ),
    "stmc1_qids_perturbation.csv": (
        "f7faf78a7bc0ca7d95713868925cf875e3cca429",
        "1b762b9367e9c264536095f04afa7679d7fe36bd6b7a95ba43ae49e81dfae1ec",
    ),
}


def paper_folder() -> Path:
    """Where the paper's files are: $SEMANTICBM_DATA/paper or ../shared/data/paper, else a cache that is filled once."""
    data = Path(os.environ.get("SEMANTICBM_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if (data / "paper").is_dir():
        return data / "paper"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semanticbm" / "paper"
    for name in PAPER_FILES:
        if not (cache / name).is_file():
            _fetch_paper_file(name, cache)
    return cache


def _fetch_paper_file(name: str, cache: Path) -> None:
    import urllib.request

    url = PAPER_URL.format(commit=PAPER_FILES[name][0], name=name)
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except OSError as error:
        raise UserError(
            f"the paper's data cannot be fetched from {url} ({error}): connect to the internet, or put the "
            "files into a folder paper/ under the folder named by SEMANTICBM_DATA."
        ) from None
    cache.mkdir(parents=True, exist_ok=True)
    (cache / name).write_bytes(content)


def _paper_file(folder: Path, name: str) -> Path:
    """The path of one of the paper's files, once its hash is the expected one."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is missing: the paper's data needs {', '.join(PAPER_FILES)}.")
    if sha256(path) != PAPER_FILES[name][1]:
        raise UserError(f"{path} is not the file that this loader knows (sha256 differs): delete and fetch it again.")
    return path


def paper_collection(folder: str | Path | None = None) -> Collection:
    """The paper's 100 queries, each with its 100 MS MARCO passages as judged (grade 0): for building other pairs.

    The released file has the *prepended* baseline: each text begins with exactly one filler "a". It is taken off. (19
    texts begin with "a a": they are dictionary entries whose own first word is "a", which stays.) The synonym list holds
    the paper's semantic word of each selected term, many of which are not synonyms.
    """
    folder = Path(folder) if folder else paper_folder()
    with open(_paper_file(folder, "tfc1_add_qids_with_text.csv"), encoding="utf-8", newline="") as file:
        queries = {row[0]: row[1] for row in csv.reader(file) if row}
    baseline = _paper_file(folder, "tfc1_add_baseline_final_dd_corpus.json")
    corpus = json.loads(baseline.read_text(encoding="utf-8"))["corpus"]
    documents = {
        document_id: entry["text"].removeprefix("a ")
        for entries in corpus.values()
        for document_id, entry in entries.items()
    }
    judgements = {query_id: dict.fromkeys(entries, 0) for query_id, entries in corpus.items()}
    synonyms = {row.term: [row.most_similar_synonym] for row in paper_terms(folder).itertuples()}
    return Collection("paper", documents, queries, judgements, synonyms)


def paper_terms(folder: str | Path | None = None) -> pd.DataFrame:
    """The paper's selected term and semantic word of each query: columns qid, term, most_similar_synonym."""
    folder = Path(folder) if folder else paper_folder()
    table = pd.read_csv(_paper_file(folder, "stmc1_qids_perturbation.csv"), dtype=str)
    return table[["qid", "term", "most_similar_synonym"]]


def paper_pairs(
    tokenizer,
    folder: str | Path | None = None,
    axiom: str = "TFC1",
    documents_per_query: int = 100,
    seed: int = 0,
    queries: Iterable[str] | None = None,
) -> Diagnostics:
    """The paper's appended TFC1 or STMC1 pairs, rebuilt: the word at the end, fillers "a" in the baseline.

    For all queries, or for the ids in `queries`. With fewer than 100 documents a query, a seeded sample. Left out and
    counted, unlike in the paper: queries with the word "a" in them, since their baseline would get another query word; for
    STMC1 also queries that contain the semantic word, since they would test TFC1.
    """
    if axiom not in ("TFC1", "STMC1"):
        raise UserError(f"the paper's files hold TFC1 and STMC1, not {axiom!r}: build others from paper_collection().")
    collection, result = paper_collection(folder), Diagnostics(axiom, [])
    settings = Settings(fillers=("a",), documents_per_query=documents_per_query, seed=seed)
    kit = Kit(collection, Pieces(tokenizer), settings, {})
    wanted = set(collection.queries if queries is None else queries)
    for row in paper_terms(folder).itertuples():
        if row.qid not in wanted:
            continue
        rng = np.random.default_rng([seed, int(row.qid)])
        ids = rng.permutation(sorted(collection.judgements[row.qid]))[:documents_per_query]
        for document_id in map(str, ids):
            try:
                result.pairs.append(_paper_pair(Candidate(kit, row.qid, document_id, rng), axiom, row))
            except Unbuildable as reason:
                result.skipped[str(reason)] += 1
    return result


def _paper_pair(case: Candidate, axiom: str, row) -> DiagnosticPair:
    word = row.term if axiom == "TFC1" else row.most_similar_synonym
    if axiom == "STMC1" and case.kit.pieces.count(word, case.query):
        raise Unbuildable("the semantic word is itself in the query")
    blank = " ".join(["a"] * case.kit.pieces.length(word))
    if case.kit.pieces.count("a", case.query):
        raise Unbuildable("the filler is a query word")
    return case.pair(axiom, f"{case.document} {blank}", f"{case.document} {word}", row.term, inserted=word)
