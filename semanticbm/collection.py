"""Documents, queries and judgements: what a retrieval experiment stands on.

A *test collection* has three parts: documents, queries, and judgements that say how relevant a document is to a query
(a grade, 0 = not relevant, 3 = answers fully). A ranking is good if it puts high grades first; `semanticbm.evaluation`
measures it.

Three kinds load through one function, `load_collection`:

- "classroom": a small collection written for this book. Its topics share words ("bank", "bark", "current"), so that
  terms are ambiguous, and part of its queries are written so that the best passage uses synonyms and none of the query's
  words. It ships inside the package.
- a folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv.
- an ir_datasets id, such as "beir/scifact/test": fetched by that library on first use.

When it misleads: judgements are incomplete. A document without a judgement counts as not relevant, so a system that finds
good documents that nobody judged looks worse than it is. The classroom collection's judgements were made on a pool of the
best documents of BM25 and of a vector search together, so that neither is favoured.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass, field
from pathlib import Path

import ir_measures
from tokenizers import Regex, normalizers, pre_tokenizers

from semanticbm.errors import DataWarning, UserError, warn_caller
from semanticbm.loading.texts import (
    Judgements,
    TextFile,
    by_query,
    in_words,
    judgements_between,
    read_judgements,
    read_synonyms,
    read_texts,
    texts_of_rows,
    without_surrogates,
)


@dataclass(frozen=True)
class Collection:
    """A test collection.

    `documents`: {document id: text}. `queries`: {query id: text}. `judgements`: {query id: {document id: grade}}.
    `synonyms`: {word: [words that can replace it]}. `query_kinds`: {query id: "exact" or "synonym"} where known.
    `topics`: {document id: topic} where known. Chapter 1.
    """

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]
    synonyms: dict[str, list[str]] = field(default_factory=dict)
    query_kinds: dict[str, str] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if not self.documents:
            raise UserError(f"collection {self.name}: no documents found: check corpus.jsonl.")
        for query_id, grades in self.judgements.items():
            if query_id not in self.queries:
                raise UserError(
                    f"collection {self.name}: judgement for the unknown query {query_id!r}: fix qrels or queries."
                )
            unknown = next((document_id for document_id in grades if document_id not in self.documents), None)
            if unknown is not None:
                raise UserError(
                    f"collection {self.name}: query {query_id!r} judges the unknown document {unknown!r}: "
                    "fix qrels or corpus."
                )

    @property
    def graded(self) -> bool:
        """True if some document has a positive grade, so that rankings can be measured."""
        return bool(self.judged_queries)

    @property
    def judged_queries(self) -> dict[str, str]:
        """The queries that have at least one document with a positive grade."""
        return {
            query_id: text
            for query_id, text in self.queries.items()
            if any(grade > 0 for grade in self.judgements.get(query_id, {}).values())
        }


NORMALIZER = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
SPLITTER = pre_tokenizers.Sequence(
    [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(r"^[^\p{L}\p{N}]+$"), behavior="removed")]
)


def words(text: str) -> list[str]:
    """Split a text into words as BERT's basic tokenizer does, punctuation left out. No stemming, no stop words.

    These are BERT's own two steps before word pieces: fold case and accents, then split at blanks, punctuation and Chinese
    characters. Case and accents are folded ("Müller" is "muller"), an apostrophe or hyphen splits ("don't" is "don", "t"),
    and each Chinese character is a word. So BM25 and the model speak of the same words (Devlin et al. 2019, BasicTokenizer;
    chapter 1).
    """
    return [word for word, _ in SPLITTER.pre_tokenize_str(NORMALIZER.normalize_str(without_surrogates(text)))]


def _assembled(
    name: str,
    documents: TextFile,
    queries: TextFile,
    judgements: Judgements,
    synonyms: dict | None = None,
    **more: dict,
) -> Collection:
    """A collection of what can be used; what was left out is reported in one `DataWarning`."""
    judgements, lost = judgements_between(judgements, queries.texts, documents.texts)
    left_out = {"documents": documents.left_out, "queries": queries.left_out, "judgements": lost}
    if any(left_out.values()):
        warn_caller(f"collection {name}: left out {in_words(left_out)}.", DataWarning)
    return Collection(name, documents.texts, queries.texts, judgements, synonyms or {}, **more)


def _load_classroom() -> Collection:
    folder = Path(str(importlib.resources.files("semanticbm"))) / "data" / "classroom"
    documents, queries = read_texts(folder / "corpus.jsonl"), read_texts(folder / "queries.jsonl")
    return _assembled(
        "classroom",
        documents,
        queries,
        by_query(ir_measures.read_trec_qrels(str(folder / "qrels.txt"))),
        read_synonyms(folder / "synonyms.jsonl"),
        query_kinds={identifier: about["kind"] for identifier, about in queries.metadata.items()},
        topics={identifier: about["topic"] for identifier, about in documents.metadata.items()},
    )


def _load_folder(folder: Path) -> Collection:
    documents, queries = read_texts(folder / "corpus.jsonl"), read_texts(folder / "queries.jsonl")
    judgements, synonyms = read_judgements(folder / "qrels" / "test.tsv"), folder / "synonyms.jsonl"
    return _assembled(
        folder.name, documents, queries, judgements, read_synonyms(synonyms) if synonyms.is_file() else None
    )


def _load_ir_datasets(name: str) -> Collection:
    import ir_datasets  # here, because it takes a second, and only ids of its own need it

    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        raise UserError(
            f"unknown collection {name!r}: use classroom, a folder in BEIR's layout, or an ir_datasets id."
        ) from None
    if not (dataset.has_docs() and dataset.has_queries() and dataset.has_qrels()):
        raise UserError(
            f"{name} lacks documents, queries or judgements: choose a part that has all three, "
            "for example beir/scifact/test."
        )
    try:
        judgements = by_query(dataset.qrels_iter())
        documents = texts_of_rows(name, ((row.doc_id, row.default_text()) for row in dataset.docs_iter()))
        queries = texts_of_rows(name, ((row.query_id, row.default_text()) for row in dataset.queries_iter()))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name} could not be fetched ({str(error).splitlines()[0][:80]}): connect to the internet, or use "
            "--collection classroom."
        ) from None
    return _assembled(name, documents, queries, judgements)


def load_collection(name: str = "classroom") -> Collection:
    """Load a collection: "classroom", a folder in BEIR's layout, or an ir_datasets id (chapter 1).

    Empty documents and queries, and judgements of what is not there, are left out and counted in a `DataWarning`.
    `UserError` if the name is unknown, a file is damaged, or an id stands twice.
    """
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{name!r} names no collection: use classroom, a folder in BEIR's layout, or an ir_datasets id."
        )
    if name == "classroom":
        return _load_classroom()
    if Path(name).is_dir():
        return _load_folder(Path(name))
    if "/" not in name or name.startswith((".", "/", "~")):
        raise UserError(f"unknown collection {name!r}: use classroom, a folder in BEIR's layout, or an ir_datasets id.")
    return _load_ir_datasets(name)
