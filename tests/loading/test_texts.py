"""Collections as real ones are: what is certainly wrong is named by file, line and id; the rest is counted and left out."""

import json
import random
import shutil
import warnings
from pathlib import Path

import pytest

from semanticbm.collection import load_collection
from semanticbm.errors import DataWarning, UserError
from semanticbm.loading.texts import read_judgements, readable

CASES = Path(__file__).parents[3] / "shared" / "cases"
CORPUS = ['{"_id": "a", "title": "Bogs", "text": "Peat bogs store carbon."}', '{"_id": "b", "text": "Lime mortar."}']
QUERIES = ['{"_id": "q1", "text": "peat"}', '{"_id": "q2", "text": "lime"}']
DAMAGE = [b"", b"\xff", b'"', b"\t", b"{", b"\n", b"\\ud800", b"NaN"]
QRELS = ["query-id\tcorpus-id\tscore", "q1\ta\t1", "q2\tb\t2"]


def folder_of(path, corpus=CORPUS, queries=QUERIES, qrels=QRELS, encoding="utf-8"):
    (path / "qrels").mkdir(parents=True, exist_ok=True)
    for name, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", qrels)):
        (path / name).write_bytes("\n".join(lines).encode(encoding))
    return path


def load_with_notes(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        collection = load_collection(str(folder))
    return collection, [str(one.message) for one in caught if issubclass(one.category, DataWarning)]


def test_a_clean_folder_has_no_note(tmp_path):
    collection, notes = load_with_notes(folder_of(tmp_path))
    assert not notes and collection.documents == {"a": "Bogs Peat bogs store carbon.", "b": "Lime mortar."}
    assert collection.judgements == {"q1": {"a": 1}, "q2": {"b": 2}}


@pytest.mark.skipif(not CASES.is_dir(), reason="the small inputs that failed are not on this machine")
@pytest.mark.parametrize(
    ("case", "documents", "note"),
    [
        ("null_text", {"c"}, "2 documents with no text"),
        ("empty_doc", {"a"}, "1 documents with empty text"),
        ("missing_doc", {"a"}, "1 judgements of missing documents"),
    ],
)
def test_the_cases(case, documents, note):
    collection, notes = load_with_notes(CASES / case)
    assert documents <= set(collection.documents) and len(notes) == 1 and note in notes[0]
    assert not {"None", "nan", "NaN", ""} & set(collection.documents.values())


@pytest.mark.parametrize("text", ["null", "NaN", '""', '"  "', '"\\u200b\\u200d"', '"\\n\\t"'])
def test_texts_that_say_nothing_are_left_out_and_counted(tmp_path, text):
    row = f'{{"_id": "x", "title": null, "text": {text}}}'
    collection, notes = load_with_notes(folder_of(tmp_path, [*CORPUS, row], qrels=[*QRELS, "q1\tx\t1"]))
    assert set(collection.documents) == {"a", "b"} and collection.judgements["q1"] == {"a": 1}
    assert len(notes) == 1 and "1 documents with" in notes[0] and "1 judgements of missing documents" in notes[0]


def test_a_title_alone_is_no_text_but_a_nan_title_is_no_title(tmp_path):
    rows = [*CORPUS, '{"_id": "x", "title": "Bogs", "text": null}', '{"_id": "y", "title": NaN, "text": "Clay."}']
    collection, _ = load_with_notes(folder_of(tmp_path, rows))
    assert "x" not in collection.documents and collection.documents["y"] == "Clay."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_marks_blank_lines_quotes_and_written_grades_are_read(tmp_path, encoding):
    qrels = ['"q1"\t"a"\t"1.0"', "q2\tb\t2", "", "  "]
    folder = folder_of(tmp_path, [*CORPUS, "", " "], QUERIES, qrels, encoding)
    collection, notes = load_with_notes(folder)
    assert not notes and collection.judgements == {"q1": {"a": 1}, "q2": {"b": 2}}


def test_judgements_of_missing_queries_are_counted(tmp_path):
    collection, notes = load_with_notes(folder_of(tmp_path, qrels=[*QRELS, "q9\ta\t1", "q9\tb\t1"]))
    assert "q9" not in collection.judgements and "2 judgements of missing queries" in notes[0]


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        ([*CORPUS, '{"_id": "a", "text": "again"}'], ["corpus.jsonl", "line 3", "'a'", "twice"]),
        ([*CORPUS, '{"_id": "c"}'], ["corpus.jsonl", "line 3", "'c'"]),
        ([*CORPUS, '{"text": "no id"}'], ["corpus.jsonl", "line 3", "_id"]),
        ([*CORPUS, '{"_id": null, "text": "x"}'], ["corpus.jsonl", "line 3", "_id"]),
        ([*CORPUS, '{"_id": "c", "text": ["a"]}'], ["corpus.jsonl", "line 3", "'c'", "list"]),
        ([*CORPUS, '{"_id": "c", "text": 5}'], ["corpus.jsonl", "line 3", "'c'", "int"]),
        ([*CORPUS, '{"_id": "c", "text": "cut'], ["corpus.jsonl", "line 3", "JSON"]),
        ([*CORPUS, "[1, 2]"], ["corpus.jsonl", "line 3"]),
        ([], ["no documents"]),
    ],
)
def test_what_is_certainly_wrong_names_file_line_and_id(tmp_path, corpus, words):
    with pytest.raises(UserError) as caught:
        load_collection(str(folder_of(tmp_path, corpus)))
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_other_encodings_are_named(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "corpus.jsonl").write_bytes('{"_id": "a", "text": "Müller"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"corpus\.jsonl, line 1: not UTF-8"):
        load_collection(str(folder))


def test_half_characters_become_a_mark(tmp_path):
    collection, _ = load_with_notes(folder_of(tmp_path, [*CORPUS, r'{"_id": "s", "text": "a \ud800 b"}']))
    assert collection.documents["s"] == "a ? b"


@pytest.mark.parametrize("line", ["q1\ta", "q1\ta\tmuch", "q1\ta\t1.5", "q1 a 1", "\ta\t1", "q1\ta\t1\tx"])
def test_a_bad_judgement_names_its_line(tmp_path, line):
    path = folder_of(tmp_path, qrels=[*QRELS, line]) / "qrels" / "test.tsv"
    with pytest.raises(UserError, match="line 4"):
        read_judgements(path)


@pytest.mark.parametrize("header", [[], ["query-id\tcorpus-id\tscore"]])
def test_judgements_in_trecs_four_columns_are_read(tmp_path, header):
    folder = folder_of(tmp_path, qrels=[*header, "q1 0 a 1", "q2\tQ0\tb\t2"])
    collection, notes = load_with_notes(folder)
    assert not notes and collection.judgements == {"q1": {"a": 1}, "q2": {"b": 2}}


def test_two_columns_are_no_header(tmp_path):
    path = folder_of(tmp_path, qrels=["query-id corpus-id", *QRELS[1:]]) / "qrels" / "test.tsv"
    with pytest.raises(UserError, match="line 1"):
        read_judgements(path)


def test_two_grades_of_one_pair_name_line_and_ids_and_the_same_grade_twice_is_one(tmp_path):
    folder = folder_of(tmp_path, qrels=[*QRELS, "q1\ta\t1"])
    assert load_with_notes(folder)[0].judgements["q1"] == {"a": 1}
    (folder / "qrels" / "test.tsv").write_text("\n".join([*QRELS, "q1\ta\t2"]))
    with pytest.raises(UserError, match="line 4: query 'q1' and document 'a'"):
        load_collection(str(folder))


def test_grades_below_0_count_as_0_and_are_counted(tmp_path):
    collection, notes = load_with_notes(folder_of(tmp_path, qrels=[*QRELS, "q1\tb\t-2"]))
    assert collection.judgements["q1"] == {"a": 1, "b": 0} and "1 grades below 0" in notes[0]


def test_damaged_synonyms_are_one_line(tmp_path):
    folder = folder_of(tmp_path)
    for line in ('{"words": "a"}', '{"word": "a", "synonyms": "b"}', '{"word": 1, "synonyms": []}', "{"):
        (folder / "synonyms.jsonl").write_text(line, encoding="utf-8")
        with pytest.raises(UserError, match=r"synonyms\.jsonl, line 1"):
            load_collection(str(folder))


def test_readable():
    assert readable("a") and readable("ß") and not readable("\u200b \t") and not readable("")


def test_many_damaged_folders_are_errors_or_collections(tmp_path):
    """Bytes changed, cut out and put in: a `UserError` in one line, or a collection of readable texts."""
    source, rng = folder_of(tmp_path / "whole"), random.Random(0)
    outcomes = set()
    for _ in range(400):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        path = folder / rng.choice(["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(content) + 1)
            content[place : place + rng.choice([0, 1, 5])] = rng.choice(DAMAGE)
        path.write_bytes(bytes(content))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                collection = load_collection(str(folder))
            assert all(isinstance(text, str) and readable(text) for text in collection.documents.values())
            json.dumps(collection.documents)
            outcomes.add("read")
        except UserError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
