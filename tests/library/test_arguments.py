"""A bad argument ends in one clear line: a walk over the public functions of the library with a table of bad values.

Each public function is first called with good arguments, named alike everywhere, then with one of them replaced by a bad value.
It must raise `UserError` or give an answer; any other exception is a failure.
"""

import importlib
import inspect
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from builders import BASELINE, CAT_MAT, PERTURBED, ROOT, random_bert

from semanticbm.attention import attention_patterns
from semanticbm.bert import score_from_cls
from semanticbm.bm25 import BM25, lucene_idf
from semanticbm.collection import Collection, load_collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.diagnostics import Settings, diagnostic_pairs
from semanticbm.errors import UserError
from semanticbm.evaluation import measure
from semanticbm.ladder import backbone_tokenizer, load
from semanticbm.retrieval import bm25_run, vector_run

LEFT_OUT = (  # a good call takes long, or needs another collection than the table's
    *("ladder.load", "ladder.random_classifier", "ladder.load_backbone_classifier", "retrieval.vector_run"),
    *("matching.length_curves", "matching.similarity_curves", "scoring_heads.scoring_attention"),
)
MODULES = [path.stem for path in sorted((ROOT / "semanticbm").glob("[a-z]*.py")) if path.stem != "errors"]
MADE_OF_PARTS = ("bert", "compiled", "one_pass")
"""Their functions take modules, weights and records that the others make."""
WALKED_MODULES = [name for name in MODULES if name not in MADE_OF_PARTS]
BAD = {
    "None": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "object": object(),
    "text": "no such thing",
    "empty text": "",
    "empty list": [],
    "empty mapping": {},
    "list of None": [None],
    "mapping of None": {"a": None},
    "0": 0,
    "-1": -1,
    "huge": 10**18,
    "half": 0.5,
    "surrogate": "\ud800",
}


@cache
def good() -> dict:
    """A good value for each parameter, by the name that it has in all functions."""
    tokenizer = backbone_tokenizer()
    model = random_bert(tokenizer, 2, 2, d_head=4, d_mlp=8, name="tiny")
    encoding, collection = model.encode([BASELINE]), CAT_MAT
    run = bm25_run(collection)
    diagnostics = diagnostic_pairs(
        "TFC1", load_collection(), tokenizer, Settings(documents_per_query=1), ["q-banking-1"]
    )
    return {
        "model": model,
        "encoding": encoding,
        "collection": collection,
        "queries": None,
        "query": "cat mat",
        "document": "a cat",
        "documents": ["the cat sat", "a dog"],
        "text": "Some text.",
        "texts": ["some text"],
        "pairs": [BASELINE, PERTURBED],
        "baseline": BASELINE,
        "perturbed": PERTURBED,
        "baselines": [BASELINE],
        "heads": [(0, 0)],
        "receivers": [(1, 0)],
        "shape": (2, 2),
        "layer": 1,
        "head": 1,
        "row": 0,
        "run": run,
        "runs": [run],
        "judgements": {"q": {"a": 1}},
        "scores": {"a": 1.0, "b": 0.5},
        "depth": 2,
        "batch_size": 2,
        "seed": 0,
        "values": [1.0, 2.0, 4.0],
        "x": [1.0, 2.0, 4.0],
        "y": [2.0, 1.0, 5.0],
        "controls": np.array([[1.0], [0.0], [1.0]]),
        "first": {"q": 1.0, "r": 0.5},
        "second": {"q": 0.0, "r": 0.5},
        "k1": 1.2,
        "b": 0.75,
        "avgdl": 5.0,
        "tf": 1,
        "length": 5,
        "lengths": [3, 4],
        "document_frequency": [1, 2],
        "n_documents": 4,
        "word": "cat",
        "tokenizer": tokenizer,
        "diagnostics": diagnostics,
        "pattern": next(attention_patterns(model, [BASELINE])),
        "query_words": ["cats", "and", "dogs"],
        "columns": {"score": np.zeros((2, 2))},
        "matrix": np.random.default_rng(0).normal(size=(20, 5)),
        "k": 2,
        "beta": 2.0,
        "sink": 1.0,
        "source": "collection",
        "sources": "document",
        "idf": lucene_idf,
        "device": "cpu",
        "position": 0,
        "n": 20,
        "items": [1],
        "label": "",
    }


SPECIAL = {
    "idf_values: collection": CAT_MAT,
    "word_table: idf": {"the": 0.1, "cat": 2.0, "dog": 1.5},
    "embedding_idf: idf": {"the": 0.1, "cat": 2.0, "dog": 1.5, "hill": 1.0, "runs": 3.0, "today": 2.5},
    "idf_correlations: idf": {"the": 0.1, "cat": 2.0, "dog": 1.5},
    "idf_from_u0: idf": {"the": 0.1, "cat": 2.0, "dog": 1.5},
    "heads_as_bm25: pairs": [("the cat", "the cat sat on the mat")],
    "attention_masses: pairs": [("the cat", "the cat sat on the mat")],
    "mass_of_word: word": "dogs",
    "encode_both: perturbed": [PERTURBED],
    "direct_effects_many: perturbed": [PERTURBED],
    "effects_on_receivers_many: perturbed": [PERTURBED],
    "to_numpy: scores": torch.zeros(2),
    "diagnostic_pairs: axiom": "TFC1",
    "seeded: query_id": "q",
    "blocked_entries: rows": "cls",
    "blocked_entries: columns": "document",
    "measure: name": "nDCG@10",
    "parse_head: name": "1.1",
    "load_collection: name": "classroom",
    "pick_device: device": "cpu",
    "side: name": "cls",
    "intervals: values": np.zeros((3, 2, 2)),
    "interval_columns: values": np.zeros((3, 2, 2)),
    "interval_columns: name": "effect",
    "BM25: documents": {"a": "a cat", "b": "a dog"},
    "predicted_mass: length": 5,
    "CrossEncoder: name": "tiny",
    "metric: patched": np.array([1.0]),
    "metric: baseline": 0.0,
    "metric: perturbed": 2.0,
}


def public(module) -> list[tuple[str, object]]:
    """Functions, constructors and methods that a module defines, by qualified name; classes with plain arguments only."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            found.append((name, value))
        elif value is BM25:
            found.append((name, value))
            index = BM25(["a cat", "a dog"])
            found += [
                (f"{name}.{method}", getattr(index, method))
                for method in ("word_idf", "term_scores", "scores", "score_text")
            ]
        elif value is CrossEncoder:
            model = good()["model"]
            found += [(f"{name}.{method}", getattr(model, method)) for method in METHODS]
    return found


METHODS = ("encode", "batches", "score_pairs", "score", "logits", "attention", "tokens", "check_head")


def arguments_of(name: str, function) -> dict | None:
    """A good value for each parameter; None if the table has none for one of them."""
    chosen = {}
    for parameter in inspect.signature(function).parameters.values():
        key = f"{name}: {parameter.name}"
        if key in SPECIAL:
            chosen[parameter.name] = SPECIAL[key]
        elif parameter.default is not inspect.Parameter.empty:
            chosen[parameter.name] = parameter.default
        elif parameter.name in good():
            chosen[parameter.name] = good()[parameter.name]
        else:
            return None
    return chosen


def call(function, values: dict):
    """The answer; of a generator all that it gives."""
    answer = function(**values)
    return list(answer) if inspect.isgenerator(answer) else answer


@cache
def walked() -> dict:
    """{module, name: (function, good arguments)} of what can be called with the table's values."""
    found = {}
    for module in WALKED_MODULES:
        for name, function in public(importlib.import_module(f"semanticbm.{module}")):
            values = arguments_of(name, function)
            if values and f"{module}.{name}" not in LEFT_OUT:
                found[f"{module}.{name}"] = (function, values)
    return found


def surprises(function, values: dict) -> list[str]:
    """What neither was refused in one line nor gave an answer, after each argument was replaced by each bad value."""
    found = []
    for parameter, (label, bad) in itertools.product(values, BAD.items()):
        try:
            call(function, values | {parameter: bad})
        except UserError as error:
            if "\n" in str(error):
                found.append(f"{parameter} = {label}: more than one line")
        except Exception as error:
            found.append(f"{parameter} = {label}: {type(error).__name__}: {error}")
    return found


# ---- The walk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", WALKED_MODULES)
@pytest.mark.filterwarnings("ignore")
def test_good_arguments_give_answers_and_bad_ones_a_line(module):
    here = {name: found for name, found in walked().items() if name.startswith(f"{module}.")}
    assert here
    for function, values in here.values():
        call(function, values)
    assert not {name: found for name, (function, values) in here.items() if (found := surprises(function, values))}


def test_the_walk_reaches_most_functions():
    modules = [importlib.import_module(f"semanticbm.{module}") for module in WALKED_MODULES]
    names = [name for module in modules for name, _ in public(module)]
    assert len(walked()) >= 0.6 * len(names) and len(walked()) >= 75


# ---- What was seen to go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True, 10**18])
def test_a_wrong_batch_size_never_gives_numbers(size):
    with pytest.raises(UserError, match="batch_size"):
        good()["model"].score("cat", ["a cat"], batch_size=size)


@pytest.mark.parametrize("name", ["nDCG@0", "nDCG@-1", "nDCG@1.5", "P@99999999999", "no measure", "", "@"])
def test_a_wrong_measure_ends_in_a_line_and_not_the_process(name):
    with pytest.raises(UserError, match="measure"):
        measure({"q": {"a": 1.0}}, {"q": {"a": 1}}, name)


@pytest.mark.parametrize("wrong", [{"k1": None}, {"k1": math.nan}, {"k1": -1}, {"b": 2}, {"b": "0.75"}, {"idf": None}])
def test_wrong_settings_of_bm25(wrong):
    with pytest.raises(UserError):
        BM25(["a cat"], **wrong)


@pytest.mark.parametrize("documents", [[None], ["a", 1], {"a": None}, "a text", None, [], {}])
def test_wrong_documents_of_bm25(documents):
    with pytest.raises(UserError):
        BM25(documents)


@pytest.mark.parametrize(
    "name", ["a//b", "a/b/c", "/b", "a/", "a/b@", "ä/ö", "a b/c", "a/b@\n", "..", "~", "a/" + "b" * 300]
)
def test_odd_model_names(name, monkeypatch):
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: False)
    with pytest.raises(UserError):
        load(name)


@pytest.mark.parametrize("device", ["toaster", "", "cuda:99", "cpu:x", None, 5, "CPU", "\ud800"])
def test_odd_devices(device):
    with pytest.raises(UserError):
        load("compiled", device)
    with pytest.raises(UserError):
        CrossEncoder(good()["model"].hf, good()["tokenizer"], "tiny", device)


def test_the_line_names_function_argument_and_value():
    with pytest.raises(UserError, match=r"^CrossEncoder.score: documents\[1\] is None, not text: pass that\.$"):
        good()["model"].score("cat", ["a cat", None])


def test_items_of_an_iterator_are_checked_and_all_used():
    model, pairs = good()["model"], [BASELINE, PERTURBED]
    np.testing.assert_array_equal(model.score_pairs(iter(pairs)), model.score_pairs(pairs))
    with pytest.raises(UserError, match=r"pairs\[0\]"):
        model.score_pairs(iter([None]))


def test_a_name_that_only_type_checkers_import_is_checked_by_its_name():
    hf = good()["model"].hf
    assert score_from_cls(hf, torch.zeros(hf.config.hidden_size)).shape == ()
    with pytest.raises(UserError, match="score_from_cls: hf is a BertModel, not of type BertForSequenceClassification"):
        score_from_cls(hf.bert, torch.zeros(hf.config.hidden_size))
    with pytest.raises(UserError, match="score_from_cls: cls is 'text', not of type Tensor"):
        score_from_cls(hf, "text")


def test_a_stand_in_with_the_same_methods_is_taken_and_one_without_is_not():
    class Remembers:
        def vectors(self, texts, batch_size=32, progress=False):
            return np.eye(len(texts), 3, dtype=np.float32)

    collection = Collection("two", {"a": "peat", "b": "car"}, {"q": "bog"}, {})
    assert list(vector_run(collection, 1, encoder=Remembers())) == ["q"]
    with pytest.raises(UserError, match="encoder is"):
        vector_run(collection, 1, encoder=object())
