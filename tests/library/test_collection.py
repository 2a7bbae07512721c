"""The classroom collection is sound, and damaged collections are refused with one clear line."""

import json
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semanticbm.collection import Collection, load_collection, words
from semanticbm.errors import UserError


def five_grams(text):
    tokens = words(text)
    return {tuple(tokens[place : place + 5]) for place in range(len(tokens) - 4)}


def test_size(classroom):
    assert len(classroom.documents) >= 400
    assert len(set(classroom.topics.values())) >= 25
    assert len(classroom.queries) >= 100
    assert list(classroom.query_kinds.values()).count("synonym") >= 40


def test_lengths(classroom):
    assert all(30 <= len(text.split()) <= 120 for text in classroom.documents.values())
    assert all(2 <= len(text.split()) <= 8 for text in classroom.queries.values())


def test_text_is_clean(classroom):
    for text in [*classroom.documents.values(), *classroom.queries.values()]:
        assert text == text.strip() and "  " not in text and text.isascii()


def test_no_near_duplicates(classroom):
    grams = [(identifier, five_grams(text)) for identifier, text in classroom.documents.items()]
    for place, (identifier, first) in enumerate(grams):
        for other, second in grams[place + 1 :]:
            assert len(first & second) < 0.2 * len(first | second), (identifier, other)


def test_every_query_is_judged_in_a_pool(classroom):
    for query in classroom.queries:
        grades = classroom.judgements[query]
        assert set(grades.values()) <= {0, 1, 2, 3}
        assert 3 in grades.values(), query
        assert len(grades) >= 15, query


def stem(word):
    return word[:5]


FUNCTION_WORDS = {
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "by",
    "can",
    "do",
    "does",
    "for",
    "from",
    "has",
    "have",
    "how",
    "i",
    "in",
    "is",
    "it",
    "its",
    "my",
    "not",
    "of",
    "on",
    "or",
    "that",
    "the",
    "their",
    "them",
    "there",
    "these",
    "they",
    "this",
    "to",
    "was",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
    "will",
    "with",
    "you",
    "your",
    "so",
    "up",
    "out",
    "get",
    "if",
    "than",
    "then",
    "no",
    "into",
    "off",
    "about",
    "over",
    "one",
    "keep",
    "make",
    "makes",
}


def test_synonym_queries_share_no_content_word_with_their_best_passages(classroom):
    synonym_queries = [query for query, kind in classroom.query_kinds.items() if kind == "synonym"]
    for query in synonym_queries:
        asked = {stem(word) for word in words(classroom.queries[query]) if word not in FUNCTION_WORDS}
        for document, grade in classroom.judgements[query].items():
            if grade == 3:
                shared = asked & {stem(word) for word in words(classroom.documents[document])}
                assert not shared, (query, document, shared)


def test_synonyms_are_single_lower_case_words(classroom):
    assert len(classroom.synonyms) >= 100
    for word, replacements in classroom.synonyms.items():
        assert replacements and all(other.isalpha() and other.islower() and other != word for other in replacements)


def test_topics_share_vocabulary(classroom):
    """A third of the frequent words of the collection live in at least five topics: terms are ambiguous."""
    topics = {}
    for identifier, text in classroom.documents.items():
        for word in set(words(text)) - FUNCTION_WORDS:
            topics.setdefault(word, []).append(classroom.topics[identifier])
    frequent = [set(where) for where in topics.values() if len(where) >= 8]
    assert sum(len(where) >= 5 for where in frequent) > len(frequent) / 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog's bark -- 3 BARKS!", ["the", "dog", "s", "bark", "3", "barks"]),
        ("M\u00fcller's caf\u00e9, d\u00e9j\u00e0-vu", ["muller", "s", "cafe", "deja", "vu"]),
        ("don\u2019t DON'T", ["don", "t", "don", "t"]),
        ("\u5317\u4eac weather", ["\u5317", "\u4eac", "weather"]),
        ("\u041c\u043e\u0441\u043a\u0432\u0430 2024", ["\u043c\u043e\u0441\u043a\u0432\u0430", "2024"]),
        ("\u200b -- !? \U0001f600", []),
        ("half \ud800 pair", ["half", "pair"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_berts_basic_tokenizer(tokenizer, text):
    """The oracle is the tokenizer of the shipped model: its words, without those that are punctuation alone."""
    assume(not any(unicodedata.category(character) == "Cn" for character in text))  # newer than this Python's Unicode
    readable = text.encode("utf-8", "replace").decode()
    backend = tokenizer.backend_tokenizer
    seen = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(readable))
    assert words(text) == [word for word, _ in seen if any(letter.isalnum() for letter in word)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "A title", "text": "some text"}\n{"_id": "d2", "text": "more"}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "text"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return tmp_path


def test_folder_in_beir_layout(folder):
    collection = load_collection(str(folder))
    assert collection.documents == {"d1": "A title some text", "d2": "more"}
    assert collection.judgements == {"q1": {"d1": 1}}
    assert collection.judged_queries == {"q1": "text"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", "not json\n", "line 1: not JSON"),
        ("corpus.jsonl", '{"text": "no id"}\n', "_id"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n', "twice"),
        ("corpus.jsonl", "", "no documents"),
        ("qrels/test.tsv", "q1 d1 1\nq1 d1 1\n", "line 1"),
    ],
)
def test_damaged_folders_are_refused(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=message):
        load_collection(str(folder))


def test_missing_file_is_named(folder):
    (folder / "queries.jsonl").unlink()
    with pytest.raises(UserError, match="queries.jsonl"):
        load_collection(str(folder))


@pytest.mark.parametrize("name", ["nonsense", "./nowhere", "no-such-family/nothing"])
def test_unknown_names(name):
    with pytest.raises(UserError, match="unknown collection"):
        load_collection(name)


def test_ir_datasets_load_through_the_same_interface(monkeypatch):
    """ir_datasets fetches its data from elsewhere; a small stand-in dataset with its interface is enough here."""
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericDoc, GenericQuery, TrecQrel

    class Docs(BaseDocs):
        def docs_iter(self):
            return iter([GenericDoc("d1", "a text")])

    class Queries(BaseQueries):
        def queries_iter(self):
            return iter([GenericQuery("q1", "text")])

    class Qrels(BaseQrels):
        def qrels_iter(self):
            return iter([TrecQrel("q1", "d1", 2, "0")])

    monkeypatch.setattr(ir_datasets, "load", lambda name: Dataset(Docs(), Queries(), Qrels()))
    assert load_collection("small/one") == Collection("small/one", {"d1": "a text"}, {"q1": "text"}, {"q1": {"d1": 2}})


def test_files_are_readable_json_lines():
    from importlib.resources import files

    for line in (files("semanticbm") / "data" / "classroom" / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["text"]
