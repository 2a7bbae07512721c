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
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ir_measures
from tokenizers import Regex, normalizers, pre_tokenizers

from semanticbm.errors import UserError


@dataclass(frozen=True)
class Collection:
    """A test collection.

    `documents`: {document id: text}. `queries`: {query id: text}. `judgements`: {query id: {document id: grade}}.
    `synonyms`: {word: [words that can replace it]}. `query_kinds`: {query id: "exact" or "synonym"} where known.
    `topics`: {document id: topic} where known.
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


# BERT's own two steps before word pieces: fold case and accents, then split at blanks, punctuation and Chinese characters.
NORMALIZER = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
SPLITTER = pre_tokenizers.Sequence(
    [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(r"^[^\p{L}\p{N}]+$"), behavior="removed")]
)


def words(text: str) -> list[str]:
    """Split a text into words as BERT's basic tokenizer does, punctuation left out. No stemming, no stop words.

    Case and accents are folded ("Müller" is "muller"), an apostrophe or hyphen splits ("don't" is "don", "t"), and each
    Chinese character is a word. So BM25 and the model speak of the same words (Devlin et al. 2019,
    BasicTokenizer; chapter 1).
    """
    readable = text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair is no character
    return [word for word, _ in SPLITTER.pre_tokenize_str(NORMALIZER.normalize_str(readable))]


# ---- Reading files -------------------------------------------------------------------------------------------------


def read_jsonl(path: Path) -> Iterator[dict]:
    """Yield the objects of a JSON Lines file; name file and line if one cannot be read (chapter 1)."""
    try:
        handle = open(path, encoding="utf-8")  # noqa: SIM115 (closed by the with below; only opening may fail here)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}. A collection folder has corpus.jsonl, queries.jsonl and "
            "qrels/test.tsv."
        ) from None
    with handle:
        for number, line in enumerate(handle, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}, line {number}: not JSON ({error}): fix that line.") from None


def _texts(path: Path) -> tuple[dict[str, str], dict[str, dict]]:
    """Texts and metadata by id; a BEIR title is put before its text."""
    texts, metadata = {}, {}
    for row in read_jsonl(path):
        try:
            identifier, text = str(row["_id"]), f"{row.get('title') or ''} {row['text']}".strip()
        except (KeyError, TypeError):
            raise UserError(f'{path}: each line needs "_id" and "text"; this one has not: {str(row)[:60]}') from None
        if identifier in texts:
            raise UserError(f"{path}: the id {identifier!r} stands twice: ids must be unique.")
        texts[identifier], metadata[identifier] = text, row.get("metadata") or {}
    return texts, metadata


def _tsv_judgements(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}. It needs query id, document id and grade, tab-separated."
        ) from None
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if number == 1 and not cells[-1].strip().lstrip("-").isdigit():
            continue  # the header line of BEIR
        if len(cells) != 3 or not cells[2].strip().lstrip("-").isdigit():
            raise UserError(f"{path}, line {number}: expected query id, document id, grade, tab-separated.")
        judgements.setdefault(cells[0], {})[cells[1]] = int(cells[2])
    return judgements


def _by_query(rows: Iterable) -> dict[str, dict[str, int]]:
    """Judgements as ir_measures and ir_datasets give them, one row each: {query id: {document id: grade}}."""
    judgements: dict[str, dict[str, int]] = {}
    for row in rows:
        judgements.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    return judgements


# ---- The kinds -----------------------------------------------------------------------------------------------------


def _load_classroom() -> Collection:
    folder = Path(str(importlib.resources.files("semanticbm"))) / "data" / "classroom"
    documents, about_documents = _texts(folder / "corpus.jsonl")
    queries, about_queries = _texts(folder / "queries.jsonl")
    synonyms = {row["word"]: row["synonyms"] for row in read_jsonl(folder / "synonyms.jsonl")}
    return Collection(
        "classroom",
        documents,
        queries,
        _by_query(ir_measures.read_trec_qrels(str(folder / "qrels.txt"))),
        synonyms,
        {identifier: about["kind"] for identifier, about in about_queries.items()},
        {identifier: about["topic"] for identifier, about in about_documents.items()},
    )


def _load_folder(folder: Path) -> Collection:
    documents, _ = _texts(folder / "corpus.jsonl")
    queries, _ = _texts(folder / "queries.jsonl")
    synonym_file = folder / "synonyms.jsonl"
    synonyms = {row["word"]: row["synonyms"] for row in read_jsonl(synonym_file)} if synonym_file.is_file() else {}
    return Collection(folder.name, documents, queries, _tsv_judgements(folder / "qrels" / "test.tsv"), synonyms)


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
        judgements = _by_query(dataset.qrels_iter())
        documents = {row.doc_id: row.default_text() for row in dataset.docs_iter()}
        queries = {row.query_id: row.default_text() for row in dataset.queries_iter()}
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name} could not be fetched ({str(error).splitlines()[0][:80]}): connect to the internet, or use "
            "--collection classroom."
        ) from None
    return Collection(name, documents, queries, judgements)


def load_collection(name: str = "classroom") -> Collection:
    """Load a collection: "classroom", a folder in BEIR's layout, or an ir_datasets id (chapter 1).

    Raises `UserError` if the name is unknown, a file is damaged, an id is not unique, or a judgement names something
    that does not exist.
    """
    if name == "classroom":
        return _load_classroom()
    if Path(name).is_dir():
        return _load_folder(Path(name))
    if "/" not in name or name.startswith((".", "/", "~")):
        raise UserError(f"unknown collection {name!r}: use classroom, a folder in BEIR's layout, or an ir_datasets id.")
    return _load_ir_datasets(name)
