"""What is stored of the background is what the classroom model gives, and is used for no other model and no other texts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import copy_as

from semanticbm.bert import classifier
from semanticbm.explaining import background as module
from semanticbm.explaining.background import DOCUMENTS_EACH, N_QUERIES, STORED, TOLERANCE, Background, stored_rows
from semanticbm.study.sealed import read_sealed

SAMPLE = (0, 7, 20)


@pytest.fixture
def background(classroom_model, classroom):
    return Background(classroom_model, classroom)


def test_a_sample_of_the_stored_rows_comes_out_again(background):
    rows, pairs = read_sealed(STORED)["unexplained"], background.pairs()
    assert np.shape(rows) == (N_QUERIES, DOCUMENTS_EACH) == np.shape(pairs)[:2]
    for number in SAMPLE:
        hint = "run: python -m semanticbm.explaining.background"
        assert background.left_over(pairs[number]) == pytest.approx(rows[number], abs=TOLERANCE), hint
    assert stored_rows(background, pairs) == rows


def test_the_first_document_of_a_query_is_the_best(classroom, background):
    ids, queries = ({text: key for key, text in texts.items()} for texts in (classroom.documents, classroom.queries))
    for (query, best), (_, other) in background.pairs():
        grades = classroom.judgements[queries[query]]
        assert best != other and grades[ids[best]] == max(grades.values()) and ids[other] in grades


def test_the_classroom_model_reads_one_query_and_another_model_all(background, monkeypatch, capsys):
    asked, left_over = [], Background.left_over
    monkeypatch.setattr(Background, "left_over", lambda self, pairs: asked.append(pairs) or left_over(self, pairs))
    assert background.unexplained.shape == (N_QUERIES, DOCUMENTS_EACH)
    assert len(asked) == 1 and "other pairs" not in capsys.readouterr().err
    monkeypatch.setattr(Background, "left_over", lambda self, pairs: asked.append(pairs) or [0.5, 2.0])
    other = copy_as(background.model, torch.float32)
    other.source = "another"
    assert Background(other, background.collection).unexplained.tolist() == [[0.5, 2.0]] * N_QUERIES
    assert len(asked) == 1 + N_QUERIES and "other pairs" in capsys.readouterr().err


def test_what_is_stored_is_refused_for_other_weights(background):
    for source in ("", "0" * 64):
        other = copy_as(background.model, torch.float32)
        other.source = source
        assert stored_rows(Background(other, background.collection), background.pairs()) is None


@torch.no_grad()
def test_what_is_stored_is_refused_for_weights_that_were_changed_after_loading(background):
    changed = copy_as(background.model, torch.float32)
    changed.source = background.model.source
    classifier(changed.hf).weight.mul_(1.5)
    assert stored_rows(Background(changed, background.collection), background.pairs()) is None


def test_what_is_stored_is_refused_for_other_texts(background, classroom_model, classroom):
    longer = {key: f"{text} And so on." for key, text in classroom.documents.items()}
    other = Background(classroom_model, replace(classroom, documents=longer))
    assert stored_rows(other, other.pairs()) is None


def test_a_damaged_file_is_as_good_as_none(background, monkeypatch, tmp_path):
    for text in ("", "{}", STORED.read_text(encoding="utf-8").replace("0.1", "0.2")):
        (tmp_path / "background.json").write_text(text, encoding="utf-8")
        monkeypatch.setattr(module, "STORED", tmp_path / "background.json")
        assert stored_rows(background, background.pairs()) is None
