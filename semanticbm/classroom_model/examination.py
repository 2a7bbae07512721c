"""Is the classroom model a good re-ranker? Four examinations on queries that took no part in training.

- `trec_dl`: the held-out TREC-DL queries, re-ranking their judged passages, against BM25 (once with IDF from the pool at
  hand, once with Microsoft's MS MARCO IDF table, which is the fair one) and against the backbone's own cosine;
- `classroom`: the classroom collection, re-ranking BM25's best documents;
- `cranfield`, `scifact`: two collections of another kind, re-ranking BM25's best documents. Their texts are longer than
  what the model was trained on (30 to 65 words), so it is asked twice: for the whole text, and for the best of its windows.

Each figure is nDCG@10 with a 95 % bootstrap interval over queries; differences are paired.

When it misleads: re-ranking judged passages only is easier than search, since every candidate is at least on topic or
was put there by another system.
"""

from __future__ import annotations

import csv
import gzip
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np

from semanticbm.bm25 import BM25, tf_factor
from semanticbm.classroom_model import data as training_data
from semanticbm.collection import Collection, load_collection, words
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.evaluation import bootstrap_mean, measure, ndcg, paired_bootstrap
from semanticbm.retrieval import Run, VectorEncoder, bm25_run, fuse, rerank, vector_run


def held_out_collection(folder: Path) -> Collection:
    """The held-out TREC-DL queries with their judged passages as a collection."""
    judged = training_data.trec_dl(folder)
    held_out = training_data.split_queries(judged)["held_out"]
    identifiers = {text: f"p{number}" for number, text in enumerate(sorted({t for q in held_out for t in judged[q]}))}
    return Collection(
        "held-out TREC-DL",
        {identifier: text for text, identifier in identifiers.items()},
        {query: query for query in held_out},
        {query: {identifiers[text]: grade for text, grade in judged[query].items()} for query in held_out},
    )


def msmarco_idf(folder: Path) -> dict[str, float]:
    """Microsoft's MS MARCO IDF table: {word: idf}."""
    lines = (folder / "msmarco" / "idf.tsv").read_text(encoding="utf-8").splitlines()
    return {word: float(value) for word, value in (line.split("\t") for line in lines)}


def table_bm25(query: str, documents: dict[str, str], idf: dict[str, float], avgdl: float) -> dict[str, float]:
    """BM25 with an IDF table from elsewhere; words that the table lacks get its largest value, as rare words should."""
    rarest = max(idf.values())
    scores = {}
    for identifier, text in documents.items():
        counts = Counter(words(text))
        scores[identifier] = sum(
            idf.get(word, rarest) * float(tf_factor(counts[word], counts.total(), avgdl)) for word in words(query)
        )
    return scores


def judged_only(collection: Collection, run: Run) -> Run:
    """Keep the judged documents of each query."""
    return {
        query: {document: score for document, score in scores.items() if document in collection.judgements[query]}
        for query, scores in run.items()
    }


def trec_dl(model: CrossEncoder, folder: Path) -> dict[str, Run]:
    """Runs over the judged passages of the held-out queries, by system."""
    collection, idf = held_out_collection(folder), msmarco_idf(folder)
    own = BM25(collection.documents)
    pool = {query: dict.fromkeys(collection.judgements[query], 0.0) for query in collection.queries}
    everything = len(collection.documents)
    return {
        "random": {
            query: dict(zip(docs, np.random.default_rng(0).random(len(docs)), strict=True))
            for query, docs in pool.items()
        },
        "bm25, own IDF": judged_only(collection, bm25_run(collection, everything, every=True)),
        "bm25": {
            query: table_bm25(query, {d: collection.documents[d] for d in docs}, idf, own.avgdl)
            for query, docs in pool.items()
        },
        "cosine": judged_only(collection, vector_run(collection, everything)),
        "cross-encoder": rerank(model, collection, pool, depth=everything, progress=True),
    }


def cranfield(folder: Path) -> Collection:
    """The Cranfield abstracts. Its judgements count queries from 1 in file order, whatever their printed number."""
    source = re.sub(r"&(?!\w+;)", "&amp;", (folder / "cranfield" / "cran.all.1400.xml").read_text(encoding="utf-8"))
    root = ElementTree.fromstring(source if source.lstrip().startswith(("<?xml", "<xml")) else f"<xml>{source}</xml>")
    documents = {
        doc.findtext("docno").strip(): " ".join((doc.findtext("text") or "").split()) for doc in root.iter("doc")
    }
    documents = {identifier: text for identifier, text in documents.items() if words(text)}
    tops = ElementTree.parse(folder / "cranfield" / "cran.qry.xml").getroot().iter("top")
    queries = {
        str(number): " ".join(node.findtext("title").split()).rstrip(" .") for number, node in enumerate(tops, start=1)
    }
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "cranfield" / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        if document in documents and query in queries:
            judgements.setdefault(query, {})[document] = max(0, int(grade))
    return Collection("cranfield", documents, queries, judgements)


def _abstract(cell: str) -> str:
    """The sentences of an abstract, which the file keeps as a printed list, as one text."""
    return " ".join(re.sub(r"^\[|\]$|^['\"]|['\"]$", "", line.strip()) for line in cell.strip("[]").splitlines())


def scifact(folder: Path) -> Collection:
    """SciFact: claims as queries, abstracts as documents; relevant are the abstracts that hold evidence."""
    with gzip.open(folder / "scifact" / "corpus_train.csv.gz", "rt", encoding="utf-8") as handle:
        documents = {row["doc_id"]: f"{row['title']} {_abstract(row['abstract'])}" for row in csv.DictReader(handle)}
    queries, judgements = {}, {}
    with open(folder / "scifact" / "claims_validation.csv", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["evidence_doc_id"] in documents:
                queries[row["id"]] = row["claim"]
                judgements.setdefault(row["id"], {})[row["evidence_doc_id"]] = 1
    return Collection("scifact", documents, queries, judgements)


def rerank_examination(
    model: CrossEncoder, collection: Collection, depth: int, queries: int | None = None, cosine: bool = True
) -> dict[str, Run]:
    """Runs of BM25, of the cross-encoder over BM25's best `depth`, and of the cosine over the same candidates."""
    chosen = list(collection.judged_queries)
    if queries is not None and queries < len(chosen):
        chosen = sorted(np.random.default_rng(0).choice(chosen, queries, replace=False).tolist())
    first = bm25_run(collection, depth, queries=chosen, every=True)
    runs = {"bm25": first, "cross-encoder": rerank(model, collection, first, depth, progress=True)}
    if cosine:
        runs["cosine"] = _cosine_rerank(collection, first)
    return runs


def windows(text: str, size: int = 60, step: int = 30) -> list[str]:
    """The text in overlapping windows of `size` words, one every `step` words; a short text is one window."""
    tokens = text.split()
    starts = range(0, max(1, len(tokens) - size + step), step)
    return [" ".join(tokens[start : start + size]) for start in starts]


def rerank_windows(model: CrossEncoder, collection: Collection, candidates: Run) -> Run:
    """Score each candidate by its best window: the largest of the windows' scores."""
    rows = [
        (query, document, window)
        for query, scores in candidates.items()
        for document in scores
        for window in windows(collection.documents[document])
    ]
    pairs = [(collection.queries[query], window) for query, _, window in rows]
    best: Run = {query: {} for query in candidates}
    for (query, document, _), score in zip(rows, model.score_pairs(pairs, progress=True), strict=True):
        best[query][document] = max(best[query].get(document, -np.inf), float(score))
    return best


def _cosine_rerank(collection: Collection, first: Run) -> Run:
    encoder, wanted = VectorEncoder(), sorted({document for scores in first.values() for document in scores})
    vectors = dict(
        zip(
            wanted, encoder.vectors([collection.documents[document] for document in wanted], progress=True), strict=True
        )
    )
    asked = encoder.vectors([collection.queries[query] for query in first])
    return {
        query: {document: float(vector @ vectors[document]) for document in first[query]}
        for query, vector in zip(first, asked, strict=True)
    }


def summarise(runs: dict[str, Run], judgements: dict[str, dict[str, int]]) -> dict:
    """nDCG@10 of each system and the paired differences to the cross-encoder, with intervals: JSON-ready."""
    queries = set(runs["cross-encoder"])
    judged = {query: grades for query, grades in judgements.items() if query in queries}
    values = {name: ndcg(run, judged) for name, run in runs.items()}
    rows = {
        name: dict(zip(("mean", "low", "high"), bootstrap_mean(list(value.values())), strict=True))
        for name, value in values.items()
    }
    differences = {
        name: dict(zip(("mean", "low", "high"), paired_bootstrap(values["cross-encoder"], value), strict=True))
        for name, value in values.items()
        if name != "cross-encoder"
    }
    return {"queries": len(values["cross-encoder"]), "ndcg@10": rows, "cross-encoder minus": differences}


def examine(
    model: CrossEncoder, folder: Path, depth: int = 100, other_depth: int = 20, other_queries: int = 100
) -> dict:
    """All four examinations: {name: summary}. `depth` for the classroom collection, `other_depth` for the others."""
    report = {"trec-dl": summarise(trec_dl(model, folder), held_out_collection(folder).judgements)}
    classroom = load_collection("classroom")
    report["classroom"] = summarise(rerank_examination(model, classroom, depth), classroom.judgements) | {
        "depth": depth
    }
    for name, collection in (("cranfield", cranfield(folder)), ("scifact", scifact(folder))):
        runs = rerank_examination(model, collection, other_depth, other_queries)
        runs["cross-encoder, best window"] = rerank_windows(model, collection, runs["bm25"])
        report[name] = summarise(runs, collection.judgements) | {"depth": other_depth}
    return report


def nfcorpus(folder: Path) -> Collection:
    """NFCorpus, test part: medical queries; its texts are lower-cased and without stop words, so not natural text."""
    documents = {}
    with gzip.open(folder / "nfcorpus" / "test.docs.gz", "rt", encoding="utf-8") as handle:
        for line in handle:
            identifier, text = line.rstrip("\n").split("\t", 1)
            documents[identifier] = text
    rows = (folder / "nfcorpus" / "test.titles.queries").read_text(encoding="utf-8").splitlines()
    queries = dict(row.split("\t", 1) for row in rows if row)
    queries = {identifier: text for identifier, text in queries.items() if words(text)}
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "nfcorpus" / "test.2-1-0.qrel").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split("\t")
        if query in queries and document in documents:
            judgements.setdefault(query, {})[document] = int(grade)
    return Collection("nfcorpus", documents, {query: queries[query] for query in judgements}, judgements)


def first_stages(collection: Collection, cutoffs: tuple[int, ...] = (10, 20, 100)) -> dict:
    """Recall of BM25, of vectors and of both fused, and how often each finds what the other misses: JSON-ready."""
    queries = list(collection.judged_queries)
    judged = {query: collection.judgements[query] for query in queries}
    runs = {
        "BM25": bm25_run(collection, 200, queries=queries),
        "vectors": vector_run(collection, 200, queries=queries, progress=True),
    }
    runs["hybrid"] = fuse(runs.values(), 200)
    report: dict = {
        "collection": collection.name,
        "documents": len(collection.documents),
        "queries": len(queries),
        "recall": {},
    }
    for cutoff in cutoffs:
        values = {name: measure(run, judged, f"R@{cutoff}") for name, run in runs.items()}
        best = max(("BM25", "vectors"), key=lambda name: np.mean(list(values[name].values())))
        report["recall"][str(cutoff)] = {
            **{
                name: dict(zip(("mean", "low", "high"), bootstrap_mean(list(value.values())), strict=True))
                for name, value in values.items()
            },
            "hybrid minus better": dict(
                zip(("mean", "low", "high"), paired_bootstrap(values["hybrid"], values[best]), strict=True)
            ),
            "better": best,
            "found only by": _only_found(runs, judged, cutoff),
        }
    return report


def _only_found(runs: dict[str, Run], judged: dict[str, dict[str, int]], cutoff: int) -> dict[str, float]:
    """Share of relevant documents that one first stage finds and the other misses, and that neither finds."""
    counts = Counter()
    for query, grades in judged.items():
        found = {name: set(list(runs[name][query])[:cutoff]) for name in ("BM25", "vectors")}
        for document in (document for document, grade in grades.items() if grade > 0):
            hits = [name for name in found if document in found[name]]
            counts["both" if len(hits) == 2 else hits[0] if hits else "neither"] += 1
    return {name: counts[name] / counts.total() for name in ("BM25", "vectors", "both", "neither")}


def first_stage_examination(folder: Path) -> list[dict]:
    """`first_stages` on the classroom collection and on three collections of others."""
    return [
        first_stages(collection)
        for collection in (load_collection("classroom"), cranfield(folder), scifact(folder), nfcorpus(folder))
    ]
