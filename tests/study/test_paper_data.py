"""The paper's own files: what they hold, the pairs made of them, and that a changed file is refused."""

import pytest

from semanticbm.diagnostics import Pieces
from semanticbm.errors import UserError
from semanticbm.study.paper_data import PAPER_FILES, paper_collection, paper_folder, paper_pairs, paper_terms


@pytest.mark.usefixtures("data_folder")
def test_paper_collection_has_one_filler_less():
    collection = paper_collection()
    assert len(collection.queries) == 100
    assert sum(map(len, collection.judgements.values())) == 10_000
    own_article = {text for text in collection.documents.values() if text.startswith("a ")}
    assert 0 < len(own_article) <= 19  # dictionary entries; some passages stand under several queries


@pytest.mark.usefixtures("data_folder")
def test_paper_terms_are_query_words(tokenizer):
    collection, pieces = paper_collection(), Pieces(tokenizer)
    for row in paper_terms().itertuples():
        assert pieces.count(row.term, collection.queries[row.qid]) >= 1


@pytest.mark.usefixtures("data_folder")
def test_paper_pairs_differ_only_in_the_last_pieces(tokenizer):
    pairs = paper_pairs(tokenizer, documents_per_query=2)
    assert len(pairs.by_query()) == 97 and pairs.skipped == {"the filler is a query word": 6}
    for pair in pairs.pairs:
        before, after = tokenizer([pair.baseline, pair.perturbed], add_special_tokens=False)["input_ids"]
        m = len(tokenizer(pair.term, add_special_tokens=False)["input_ids"])
        assert before[:-m] == after[:-m] and set(before[-m:]) == {1037}


@pytest.mark.usefixtures("data_folder")
def test_paper_semantic_pairs(tokenizer):
    pairs = paper_pairs(tokenizer, axiom="STMC1", documents_per_query=2)
    assert len(pairs.by_query()) == 92
    assert pairs.skipped["the semantic word is itself in the query"] == 10
    with pytest.raises(UserError, match="hold TFC1 and STMC1"):
        paper_pairs(tokenizer, axiom="TDC")


@pytest.mark.usefixtures("data_folder")
def test_a_changed_paper_file_is_refused(tmp_path):
    for name in PAPER_FILES:
        (tmp_path / name).write_bytes((paper_folder() / name).read_bytes())
    assert len(paper_collection(tmp_path).queries) == 100
    with open(tmp_path / "tfc1_add_qids_with_text.csv", "a", encoding="utf-8") as file:
        file.write("1,one more\n")
    with pytest.raises(UserError, match="sha256 differs"):
        paper_collection(tmp_path)


def test_missing_paper_files_are_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        paper_terms(tmp_path)
