"""Files of a collection: JSON Lines with texts, tab-separated judgements; in UTF-8, with or without a byte-order mark."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from semanticbm.errors import UserError

LAYOUT = "A collection folder has corpus.jsonl, queries.jsonl and qrels/test.tsv."
Judgements = dict[str, dict[str, int]]


@dataclass
class TextFile:
    """Texts by id. `metadata`: {id: object}. `left_out`: {why: number of rows}, for example {"empty text": 3}."""

    texts: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, dict] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)

    def add(self, identifier: str, text: str | None, metadata: dict | None = None) -> None:
        """Take a text in, or count why not."""
        if text is None:
            self.left_out["no text"] += 1
        elif not readable(text):
            self.left_out["empty text"] += 1
        else:
            self.texts[identifier], self.metadata[identifier] = text, metadata or {}


def without_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs, which are no characters, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def readable(text: str) -> bool:
    """True if something is left of the text without white space, control and zero-width characters."""
    return any(character.isprintable() and not character.isspace() for character in text)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of each line of a UTF-8 file that is not blank; `UserError` if the file or a line cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. {LAYOUT}") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: not UTF-8: save the file in UTF-8.") from None
        if text.strip():
            yield number, text


def read_jsonl(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of each line of a JSON Lines file; `UserError` names file and line."""
    for number, line in lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}): fix that line.") from None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: not an object with "_id" and "text": {line[:60]}')
        yield number, row


def read_texts(path: Path) -> TextFile:
    """Texts by id from BEIR's corpus.jsonl or queries.jsonl; a title is put before its text.

    Null and NaN count as no text. `UserError` for a missing or repeated id and for a text that is neither string nor null.
    """
    found, seen = TextFile(), set()
    for number, row in read_jsonl(path):
        identifier = _identifier(row, path, number)
        if identifier in seen:
            raise UserError(f"{path}, line {number}: the id {identifier!r} stands twice: ids must be unique.")
        seen.add(identifier)
        if "text" not in row:
            raise UserError(f'{path}, line {number}: {identifier!r} has no "text".')
        title, text = (_text(row, name, identifier, path, number) for name in ("title", "text"))
        joined = " ".join(part for part in (title, text) if part).strip()
        metadata = row.get("metadata")
        found.add(identifier, joined if text is not None else None, metadata if isinstance(metadata, dict) else {})
    return found


def _identifier(row: dict, path: Path, number: int) -> str:
    identifier = row.get("_id")
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise UserError(f'{path}, line {number}: "_id" must be a text or a number, not {identifier!r}.')
    return without_surrogates(str(identifier))


def _text(row: dict, name: str, identifier: str, path: Path, number: int) -> str | None:
    """A text of a row without broken characters; None for null and NaN."""
    value = row.get(name)
    if value is None or isinstance(value, float) and math.isnan(value):
        return None
    if not isinstance(value, str):
        raise UserError(f"{path}, line {number}: the {name} of {identifier!r} is a {type(value).__name__}, not text.")
    return without_surrogates(value)


def read_synonyms(path: Path) -> dict[str, list[str]]:
    """{word: words that can replace it} from lines {"word": ..., "synonyms": [...]}."""
    found: dict[str, list[str]] = {}
    for number, row in read_jsonl(path):
        word, others = row.get("word"), row.get("synonyms")
        if not isinstance(word, str) or not isinstance(others, list) or not all(isinstance(o, str) for o in others):
            raise UserError(f'{path}, line {number}: expected {{"word": text, "synonyms": [texts]}}.')
        found[word] = others
    return found


def read_judgements(path: Path) -> Judgements:
    """{query id: {document id: grade}} from BEIR's file (three cells between tabs, with a header line or without) or TREC's.

    Cells may be quoted. TREC's lines are query, a number that nobody uses, document, grade, between white space.
    """
    found: Judgements = {}
    for place, (number, line) in enumerate(lines(path)):
        query, document, cell = _judgement(line) or ("", "", "")
        grade = _grade(cell)
        if grade is None and query and place == 0:
            continue  # the header line of BEIR
        if grade is None or not (query and document):
            raise UserError(
                f"{path}, line {number}: expected query id, document id, whole grade, tab-separated, or TREC's four columns."
            )
        if found.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UserError(
                f"{path}, line {number}: query {query!r} and document {document!r} have two different grades."
            )
    return found


def _judgement(line: str) -> tuple[str, str, str] | None:
    """Query, document and grade of a line, as text; None for another number of cells."""
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter="\t"))]
    if len(cells) == 3:
        return tuple(cells)
    trec = line.split()
    return (trec[0], trec[2], trec[3]) if len(trec) == 4 else None


def _grade(cell: str) -> int | None:
    """A whole grade, also written as 1.0; None for anything else."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def by_query(rows: Iterable) -> Judgements:
    """Judgements as ir_measures and ir_datasets give them, one row each: {query id: {document id: grade}}."""
    found: Judgements = {}
    for row in rows:
        found.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    return found


def texts_of_rows(name: str, rows: Iterable[tuple[str, str]]) -> TextFile:
    """Texts from (id, text) rows of another library; `UserError` for an id that stands twice."""
    found, seen = TextFile(), set()
    for identifier, text in rows:
        if identifier in seen:
            raise UserError(f"{name}: the id {identifier!r} stands twice: choose another part of the collection.")
        seen.add(identifier)
        found.add(identifier, None if text is None else without_surrogates(str(text)))
    return found


def judgements_between(
    judgements: Judgements, queries: Iterable[str], documents: Iterable[str]
) -> tuple[Judgements, Counter]:
    """The judgements whose query and document are there, and how many were left out, by reason.

    Some collections have grades below 0, for junk: they count as 0, not relevant.
    """
    queries, documents, kept, left_out = set(queries), set(documents), {}, Counter()
    for query, grades in judgements.items():
        if query not in queries:
            left_out["judgements of missing queries"] += len(grades)
            continue
        there = {document: max(grade, 0) for document, grade in grades.items() if document in documents}
        left_out["grades below 0, which count as 0"] += sum(grades[document] < 0 for document in there)
        left_out["judgements of missing documents"] += len(grades) - len(there)
        if there:
            kept[query] = there
    return kept, +left_out


def in_words(left_out: dict[str, Counter]) -> str:
    """What was left out as one line: "documents: 3 with empty text; judgements: 1 of missing documents"."""
    parts = [
        f"{number} {kind} with {why}" for kind in ("documents", "queries") for why, number in left_out[kind].items()
    ]
    parts += [f"{number} {why}" for why, number in left_out["judgements"].items()]
    return ", ".join(parts)
