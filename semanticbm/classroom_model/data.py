"""Training groups for the classroom model: one query, one good passage, several hard negatives.

A re-ranker must tell a good passage from *similar* bad ones, so its negatives come from the top of a BM25 ranking of the
same pool. Each example is a *group*: a query and `GROUP_SIZE` passages with relevance between 0 and 1.

Sources (texts of others: read from a folder at training time, never stored in this package): TREC Deep Learning
judgements on MS MARCO passages with grades 0 to 3; MedQuAD, TREC-QA, XQuAD, SubjQA, PubMedQA with one right passage each.

What keeps the examination honest:

- TREC-DL queries are split by query into training, validation and held-out (30), by a hash of the query's words;
- a passage whose text belongs to a held-out query, to a validation query, or to the paper's analysis data is removed
  from training under *any* query;
- a query that is also a held-out or an analysis query is removed;
- a final question mark is dropped everywhere, because only some sources have it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np

from semanticbm.collection import words
from semanticbm.errors import UserError
from semanticbm.loading.checkpoints import sha256

GROUP_SIZE = 6
HELD_OUT_QUERIES, VALIDATION_QUERIES = 30, 8
CROP_WORDS = (30, 65)
FILES = (
    "msmarco-trec-dl-judged.jsonl.gz",
    "medquad.jsonl.gz",
    "trecqa/train.xml",
    "trecqa/dev.xml",
    "trecqa/test.xml",
    "xquad/xquad.en.json",
    "subjqa",
    "pubmedqa/ori_pqal.json",
)


@dataclass(frozen=True)
class Group:
    """One query with passages: `relevance[i]` between 0 and 1 belongs to `passages[i]`."""

    query: str
    passages: list[str]
    relevance: list[float]
    source: str


@dataclass(frozen=True)
class Question:
    """A query with its right passage, before negatives are added."""

    query: str
    passage: str
    source: str


def data_folder(given: str | Path | None = None) -> Path:
    """The folder with the training data: the argument, else SEMANTICBM_DATA, else ../shared/data."""
    folder = Path(given or os.environ.get("SEMANTICBM_DATA") or "../shared/data")
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"training data not found in {folder} (missing {missing[0]}): name the folder by --data or "
            "SEMANTICBM_DATA. Only retraining needs it; the trained model is in the package."
        )
    return folder


def normalise_query(query: str) -> str:
    """Lower-case, without a final question mark or full stop and without double spaces."""
    return re.sub(r"\s+", " ", query.lower().replace("``", "").replace("''", "")).strip(" ?.")


def text_key(text: str) -> str:
    """What makes two passages the same text: their words."""
    return " ".join(words(text))


def crop(text: str, rng: random.Random, start: int | None = None) -> str:
    """A window of 30 to 65 words; it begins at word `start`, else at a random place (often the beginning)."""
    tokens = text.split()
    size = rng.randint(*CROP_WORDS)
    if start is None:
        start = 0 if rng.random() < 0.5 else rng.randint(0, max(0, len(tokens) - size))
    return " ".join(tokens[start : start + size])


# --------------------------------------------------------------------------------------------------------------------
# TREC-DL: graded pairs, and the split


def trec_dl(folder: Path) -> dict[str, dict[str, int]]:
    """TREC-DL judgements: {query: {passage: grade 0-3}}."""
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    with gzip.open(folder / "msmarco-trec-dl-judged.jsonl.gz", "rt", encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            judged[normalise_query(row["query"])][row["text"]] = row["relevance"]
    return dict(judged)


def split_queries(queries: Iterable[str]) -> dict[str, list[str]]:
    """Split queries by a hash of their text into held-out, validation and training; the same on every machine."""
    ordered = sorted(queries, key=lambda query: hashlib.sha256(query.encode()).hexdigest())
    cut = HELD_OUT_QUERIES + VALIDATION_QUERIES
    return {"held_out": ordered[:HELD_OUT_QUERIES], "validation": ordered[HELD_OUT_QUERIES:cut], "train": ordered[cut:]}


def paper_texts(folder: Path) -> tuple[set[str], set[str]]:
    """Queries and passage keys of the paper's analysis data, which must stay out of training."""
    corpus = folder / "paper" / "tfc1_add_baseline_final_dd_corpus.json"
    queries = folder / "paper" / "tfc1_add_qids_with_text.csv"
    if not corpus.is_file() or not queries.is_file():
        return set(), set()
    rows = json.loads(corpus.read_text(encoding="utf-8"))["corpus"].values()
    texts = [row["text"] for documents in rows for row in documents.values()]
    # Each text begins with one filler "a"; a second one may belong to the passage, so both readings are protected.
    keys = {text_key(re.sub(filler, "", text)) for text in texts for filler in (r"^a ", r"^(a )+")}
    names = {
        normalise_query(line.split(",", 1)[1]) for line in queries.read_text(encoding="utf-8").splitlines() if line
    }
    return names, keys


# --------------------------------------------------------------------------------------------------------------------
# Sources with one right passage a question


def _medquad(folder: Path, rng: random.Random) -> Iterator[Question]:
    with gzip.open(folder / "medquad.jsonl.gz", "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle]
    rows = [row for row in rows if len(row["answer"].split()) >= 20]
    for row in rng.sample(rows, min(2600, len(rows))):
        yield Question(row["question"], crop(row["answer"], rng, 0), "medquad")


def _trecqa(folder: Path, rng: random.Random) -> Iterator[Question]:
    tag = re.compile(r"<(question|positive)>\n(.*?)\n", re.S)
    for part in ("train", "dev", "test"):
        query = ""
        for kind, tokens in tag.findall(
            (folder / "trecqa" / f"{part}.xml").read_text(encoding="utf-8", errors="replace")
        ):
            text = tokens.replace("\t", " ").replace("-LRB-", "(").replace("-RRB-", ")")
            if kind == "question":
                query = text
            elif len(text.split()) >= 6:
                yield Question(query, text, "trecqa")


def _xquad(folder: Path, rng: random.Random) -> Iterator[Question]:
    data = json.loads((folder / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    for paragraph in (paragraph for article in data for paragraph in article["paragraphs"]):
        for item in paragraph["qas"]:
            before = len(paragraph["context"][: item["answers"][0]["answer_start"]].split())
            start = max(0, before - rng.randint(5, 30))
            yield Question(item["question"], crop(paragraph["context"], rng, start), "xquad")


def _subjqa(folder: Path, rng: random.Random) -> Iterator[Question]:
    seen = set()
    for path in sorted((folder / "subjqa").glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                key = (row["question"], row["review_id"])
                if row["human_ans_spans"] == "ANSWERNOTFOUND" or key in seen or len(row["question"].split()) < 4:
                    continue
                seen.add(key)
                first = int(row["human_ans_indices"].strip("()").split(",")[0])
                start = max(0, len(row["review"][:first].split()) - rng.randint(5, 30))
                yield Question(row["question"], crop(row["review"], rng, start), "subjqa")


def _pubmedqa(folder: Path, rng: random.Random) -> Iterator[Question]:
    for row in json.loads((folder / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8")).values():
        yield Question(row["QUESTION"], crop(" ".join(row["CONTEXTS"]), rng, 0), "pubmedqa")


# How many questions of each source enter one training set: TREC-like sources count more than formulaic ones.
SOURCES = {_medquad: 1800, _trecqa: 700, _xquad: 1190, _subjqa: 700, _pubmedqa: 900}


# --------------------------------------------------------------------------------------------------------------------
# Negatives and groups


def with_hard_negatives(questions: list[Question], rng: random.Random, depth: int = 30) -> list[Group]:
    """Add negatives drawn from BM25's top `depth` over all given passages, without the right ones of the same query."""
    passages = sorted({question.passage for question in questions})
    index = bm25s.BM25()
    index.index([words(passage) or ["-"] for passage in passages], show_progress=False)
    tokens = [words(question.query) for question in questions]
    ranked, _ = index.retrieve(tokens, k=min(depth, len(passages)), show_progress=False)
    same_query = defaultdict(set)
    for question in questions:
        same_query[question.query].add(question.passage)
    groups = []
    for question, row in zip(questions, ranked, strict=True):
        candidates = [passages[place] for place in row if passages[place] not in same_query[question.query]]
        if len(candidates) >= GROUP_SIZE - 1:
            negatives = rng.sample(candidates, GROUP_SIZE - 1)
            groups.append(
                Group(question.query, [question.passage, *negatives], [1.0] + [0.0] * (GROUP_SIZE - 1), question.source)
            )
    return groups


def graded_groups(
    judged: dict[str, dict[str, int]], queries: list[str], rng: random.Random, per_query: int = 30
) -> list[Group]:
    """Groups from graded judgements: one passage of a high grade and others of lower grades, two of them from other queries."""
    everything = [(query, passage) for query in queries for passage in judged[query]]
    groups = []
    for query in queries:
        good = [passage for passage, grade in judged[query].items() if grade >= 2]
        for positive in rng.sample(good, min(per_query, len(good))):
            lower = [passage for passage, grade in judged[query].items() if grade < judged[query][positive]]
            others = rng.sample(lower, min(GROUP_SIZE - 2, len(lower)))
            while len(others) < GROUP_SIZE - 1:
                other_query, passage = rng.choice(everything)
                if other_query != query and passage not in others:
                    others.append(passage)
            grades = [judged[query].get(passage, 0) for passage in (positive, *others)]
            groups.append(Group(query, [positive, *others], [grade / 3 for grade in grades], "trec-dl"))
    return groups


def single_answer_questions(folder: Path, rng: random.Random) -> list[Question]:
    """Questions of all sources with one right passage, in the amounts of `SOURCES`, with normalised queries."""
    chosen = []
    for read, amount in SOURCES.items():
        questions = [question for question in read(folder, rng) if len(words(question.passage)) >= 5]
        for question in rng.sample(questions, min(amount, len(questions))):
            chosen.append(Question(normalise_query(question.query), question.passage, question.source))
    return chosen


@dataclass(frozen=True)
class TrainingData:
    """Everything a training run sees, and what it must not see.

    `train`: groups. `validation`: {query: {passage: grade}} for early stopping. `held_out`: the same for the examination.
    `removed`: passages taken out because a protected text holds them.
    """

    train: list[Group]
    validation: dict[str, dict[str, int]]
    held_out: dict[str, dict[str, int]]
    removed: int


def build(folder: Path, seed: int = 0, validation_questions: int = 40) -> TrainingData:
    """Read, split and protect: see the module docstring. The split is fixed; `seed` draws crops and negatives."""
    rng = random.Random(seed)
    judged = trec_dl(folder)
    split = split_queries(judged)
    paper_queries, protected = paper_texts(folder)
    protected |= {
        text_key(text) for part in ("held_out", "validation") for query in split[part] for text in judged[query]
    }
    allowed = {
        query: {text: grade for text, grade in judged[query].items() if text_key(text) not in protected}
        for query in split["train"]
        if query not in paper_queries
    }
    removed = sum(len(judged[query]) for query in allowed) - sum(map(len, allowed.values()))
    questions = [
        question
        for question in single_answer_questions(folder, random.Random(0))
        if question.query not in paper_queries and text_key(question.passage) not in protected
    ]
    distinct = sorted(
        {question.query for question in questions}, key=lambda query: hashlib.sha256(query.encode()).hexdigest()
    )
    check = set(distinct[: min(validation_questions, len(distinct) // 5)])
    groups = with_hard_negatives([question for question in questions if question.query not in check], rng)
    groups += graded_groups({query: allowed[query] for query in allowed}, list(allowed), rng)
    rng.shuffle(groups)
    validation = {query: _sample(judged[query], 60) for query in split["validation"]}
    validation |= _single_answer_validation([question for question in questions if question.query in check], questions)
    return TrainingData(groups, validation, {query: judged[query] for query in split["held_out"]}, removed)


def _sample(grades: dict[str, int], size: int) -> dict[str, int]:
    """At most `size` judged passages, the same ones every time: validation must be quick, not complete."""
    chosen = sorted(grades, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:size]
    return {text: grades[text] for text in chosen}


def _single_answer_validation(checked: list[Question], pool: list[Question]) -> dict[str, dict[str, int]]:
    """Candidates for the validation questions: the right passage and BM25's top ones of the same source."""
    rng, judged = random.Random(0), {}
    for group in (
        group
        for source in {question.source for question in checked}
        for _ in range(2)
        for group in with_hard_negatives([q for q in pool if q.source == source], rng)
        if group.query in {question.query for question in checked}
    ):
        judged.setdefault(group.query, {}).update(
            {
                passage: int(relevance)
                for passage, relevance in zip(group.passages, group.relevance, strict=True)
                if passage not in judged.get(group.query, {}) or relevance
            }
        )
    return judged


def data_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that training reads, for the model card."""
    paths = [
        path
        for name in FILES
        for path in (sorted((folder / name).iterdir()) if (folder / name).is_dir() else [folder / name])
    ]
    return {str(path.relative_to(folder)): sha256(path) for path in paths}


def describe(data: TrainingData) -> dict[str, int]:
    """Counts for the log: groups by source, passages, lengths."""
    counts: dict[str, int] = defaultdict(int)
    for group in data.train:
        counts[group.source] += 1
    lengths = [len(passage.split()) for group in data.train for passage in group.passages]
    return {
        **counts,
        "groups": len(data.train),
        "pairs": len(lengths),
        "median passage words": int(np.median(lengths)),
        "validation queries": len(data.validation),
        "held-out queries": len(data.held_out),
        "removed passages": data.removed,
    }
