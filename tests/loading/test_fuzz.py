"""Fuzzed inputs of collection loader, readers and `score`: an answer or one clear line, never anything else.

10,000 inputs as a longer proof, some hundreds of them in each run of the tests. Seeds are fixed, so a failure comes again.
"""

import warnings

import numpy as np
import pytest
from builders import random_bert

from semanticbm.collection import load_collection, words
from semanticbm.errors import UserError
from semanticbm.loading.texts import read_judgements, read_synonyms, read_texts

CORPUS = b'{"_id": "d1", "title": "A title", "text": "some text"}\n{"_id": "d2", "text": "more text here"}\n'
QUERIES = b'{"_id": "q1", "text": "text"}\n{"_id": "q2", "text": "more"}\n'
QRELS = b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n"
SYNONYMS = b'{"word": "text", "synonyms": ["words", "letters"]}\n'
FILES = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS, "synonyms.jsonl": SYNONYMS}
PIECES = [
    *(
        b"\xff\xfe",
        b"\x00",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n\n",
        b"\xe2\x80\xa8",
        b"\x85",
        b"\t\t",
    ),
    *(
        b"null",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-1",
        b"[]",
        b"{}",
        b'"',
        b"'",
        b"\\",
        b"[" * 5000,
        b"9" * 5000,
        b'""',
        b"true",
    ),
    *(
        b'"_id"',
        b'"text"',
        b'"word"',
        b'"synonyms"',
        b"{",
        b"}",
        b",",
        b":",
        b" ",
        b"\xe2\x80\x8b",
        b"1.0",
        b"1.5",
        b"d1",
        b"q1",
    ),
]
CHARACTERS = [
    *"abc XYZ.,!?'\"-\t\n\r\0",
    "\ud800",
    "\udfff",
    "\u200b",
    "\ufeff",
    "\u202e",
    "\U0001f600",
    "北",
    "é",
    "e\u0301",
]
CHARACTERS += ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "##s", "\x85", "\u2028", "ﬁ", "ß", "İ", "a" * 300]
ODD_TEXTS = [None, 1, 1.5, b"bytes", ["a"], ("a", "b"), {}, "", " ", True]


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after one to four small accidents: bytes cut out, doubled, replaced, or a piece put in."""
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(0, len(content) + 1))
        stop = start + int(rng.geometric(0.2))
        middle = [b"", content[start:stop] * 2, rng.bytes(3), PIECES[rng.integers(len(PIECES))]][rng.integers(4)]
        stop = stop if rng.random() < 0.5 else start
        content = content[:start] + middle + content[stop:]
    return content


def text(rng: np.random.Generator):
    """A text of odd characters, or now and then no text at all."""
    if rng.random() < 0.1:
        return ODD_TEXTS[rng.integers(len(ODD_TEXTS))]
    return "".join(CHARACTERS[place] for place in rng.integers(0, len(CHARACTERS), size=rng.integers(0, 12)))


def outcome(function, *arguments):
    """ "" if there is an answer or one line for the user, else what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(*arguments)
    except UserError as error:
        return "" if str(error) and len(str(error).splitlines()) == 1 else f"not one line: {error!r:.300}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return ""


def assert_no_surprise(outcomes: dict[int, str]) -> None:
    """Lists the seeds whose input did something else than give an answer or one line."""
    assert not {seed: found for seed, found in outcomes.items() if found}


def proof(function):
    """A test with a sample of 300 inputs, and the same with 2,500 among the longer proofs."""
    many = pytest.param(300, 2_800, marks=pytest.mark.long)
    return pytest.mark.parametrize(("start", "stop"), [(0, 300), many])(function)


@proof
def test_damaged_collections(start, stop, tmp_path):
    (tmp_path / "qrels").mkdir()
    wrong = {}
    for seed in range(start, stop):
        rng = np.random.default_rng(seed)
        hit = list(FILES)[rng.integers(len(FILES))]
        for name, content in FILES.items():
            (tmp_path / name).write_bytes(damaged(content, rng) if name == hit else content)
        wrong[seed] = outcome(load_collection, str(tmp_path))
    assert_no_surprise(wrong)


@proof
def test_damaged_files_in_their_readers(start, stop, tmp_path):
    readers = {"corpus.jsonl": read_texts, "qrels/test.tsv": read_judgements, "synonyms.jsonl": read_synonyms}
    wrong = {}
    for seed in range(start, stop):
        rng = np.random.default_rng(10_000 + seed)
        name = list(readers)[rng.integers(len(readers))]
        (tmp_path / "file").write_bytes(damaged(FILES[name], rng))
        wrong[seed] = outcome(readers[name], tmp_path / "file")
    assert_no_surprise(wrong)


@proof
def test_odd_texts_are_scored_or_refused(start, stop, tokenizer):
    model, wrong = random_bert(tokenizer, 1, 1, d_head=4, d_mlp=4, name="tiny"), {}
    for seed in range(start, stop):
        rng = np.random.default_rng(20_000 + seed)
        documents = [text(rng) for _ in range(rng.integers(0, 3))]
        documents = documents if rng.random() < 0.9 else ODD_TEXTS[rng.integers(len(ODD_TEXTS))]
        wrong[seed] = outcome(model.score, text(rng), documents)
    assert_no_surprise(wrong)


@proof
def test_odd_texts_are_split_into_words_or_refused(start, stop):
    wrong = {seed: outcome(words, text(np.random.default_rng(30_000 + seed))) for seed in range(start, stop)}
    assert_no_surprise(wrong)


def test_the_accidents_do_reach_the_readers(tmp_path):
    """Else the fuzzing would prove nothing: many inputs are refused, and many are read."""
    refused = 0
    for seed in range(200):
        (tmp_path / "file").write_bytes(damaged(CORPUS, np.random.default_rng(seed)))
        try:
            read_texts(tmp_path / "file")
        except UserError:
            refused += 1
    assert 40 < refused < 190
