"""Sentences and captions that stand in a chapter as they are, held against the stored runs of all three training seeds.

Most figures in the text are made by code. What is left are statements of sign, order or size that read better as plain
text. Each stands here with the condition under which it is true; if another seed's stored run contradicts it, it must
become a sentence made by code. The phrase must be in the chapter, so that a changed sentence comes back to this table.
"""

import pytest
from builders import ROOT

from semanticbm.study.results import load_results, results_folder

SEEDS = [
    name
    for name in ("classroom", "classroom-seed0", "classroom-seed2")
    if (results_folder() / name / "report.json").is_file()
]


def pearson_of(stored, source, quantity="U0"):
    rows = stored.parts["u0"]["sources"][source]["controls"]
    return abs(next(row["pearson"] for row in rows if row["quantity"] == quantity))


def growth_is_in_all_heads(stored):
    row = stored.claim("matching-length")
    return row["ci95"][0] > 0 and row["control"] > 0


def idf_adds_little(stored):
    mean = {row["variant"]: row["mean"] for row in stored.parts["semantic_bm"]["centred"]}
    return abs(mean["SemanticBM"] - mean["matching scores only"]) < 0.1 * mean["SemanticBM"]


def fusion_hurts(stored):
    row = stored.claim("hybrid-helps-first-stage")
    return row["ci95"][1] < 0 and "vectors" in row["note"]


def small_collections_know_less(stored):
    return pearson_of(stored, "collection") < pearson_of(stored, "msmarco") - 0.1


def the_token_number_does_as_well(stored):
    left = pearson_of(stored, "msmarco", "U0 given norm and token id") / pearson_of(stored, "msmarco")
    return pearson_of(stored, "msmarco", "token id") > pearson_of(stored, "msmarco") - 0.05 and 0.35 < left < 0.65


def same_before_synonym_before_unrelated(stored):
    part = stored.parts["curves"]["similarity"]
    value = dict(zip(part["x"], part["matching"], strict=True))
    gain = {name: value[name] - value["filler"] for name in ("same", "synonym", "random")}
    return gain["same"] > gain["synonym"] > gain["random"] and abs(gain["random"]) < 0.2 * gain["same"]


SENTENCES = [
    ("05-matching-heads.qmd", "Nor is the growth special to matching heads.", growth_is_in_all_heads),
    ("05-matching-heads.qmd", "The same word counts most, a synonym counts less", same_before_synonym_before_unrelated),
    ("06-idf-in-u0.qmd", "weaker with the small collection", small_collections_know_less),
    ("06-idf-in-u0.qmd", "alone does about as well as U0", the_token_number_does_as_well),
    ("08-semanticbm.qmd", "So there are three readings of a small part.", idf_adds_little),
    ("10-what-it-explains.qmd", "fusion hurts: it is worse than vectors alone", fusion_hurts),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("chapter", "phrase", "holds"), SENTENCES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_static_sentence_holds_for_every_seed(chapter, phrase, holds, seed):
    assert phrase in " ".join((ROOT / "book" / chapter).read_text(encoding="utf-8").split()), "the sentence has changed"
    assert holds(load_results(seed)), f"{chapter}: '{phrase}' is not true of the stored run {seed}"
