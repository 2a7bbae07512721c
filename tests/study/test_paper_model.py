"""The run on the paper's model, tested on a stand-in of its exact shape: 12 layers of 12 heads, 384 wide.

The real weights need the model hub. The stand-in has the classroom model's six layers below and six layers that do nothing
above, so that heads are found and every step has something to do.
"""

import copy
import json

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from semanticbm.bert import after_heads, layers
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.study import checks, paper_model, reproduce
from semanticbm.study.experiments import EXPERIMENTS
from semanticbm.study.study import Study


def inert(layer):
    """A layer that adds nothing: both of its output maps are zero, so only its LayerNorms act."""
    layer = copy.deepcopy(layer)
    for block in (layer.attention.output, layer.output):
        torch.nn.init.zeros_(block.dense.weight)
        torch.nn.init.zeros_(block.dense.bias)
        torch.nn.init.ones_(block.LayerNorm.weight)
        torch.nn.init.zeros_(block.LayerNorm.bias)
    return layer


@pytest.fixture(scope="module")
def stand_in(classroom_model):
    hf = copy.deepcopy(classroom_model.hf)
    own = list(layers(hf))
    hf.bert.encoder.layer = torch.nn.ModuleList(own + [inert(own[0]) for _ in own])
    hf.config.num_hidden_layers = 12
    for number, layer in enumerate(layers(hf)):
        layer.attention.self.layer_idx = number
    return CrossEncoder(hf, classroom_model.tokenizer, paper_model.NAME)


def test_the_stand_in_has_the_paper_models_shape(stand_in):
    assert (stand_in.n_layers, stand_in.n_heads, stand_in.d_model) == (12, 12, 384)
    hidden = torch.randn(1, 3, 384)
    z = torch.randn(1, 3, 384)
    again = after_heads(layers(stand_in.hf)[11], z, hidden)
    normal = torch.nn.functional.layer_norm(hidden, (384,), eps=1e-12)
    assert torch.allclose(again, normal, atol=1e-3), "a layer that does nothing only normalises"


def test_the_demo_pair_has_the_tokens_that_the_authors_printed(tokenizer):
    """22 tokens; the baseline's last document token is the filler "a" (1037) where the other pair has "wellesley"."""
    one, other = (tokenizer(*pair)["input_ids"] for pair in (paper_model.DEMO_BASELINE, paper_model.DEMO_PERTURBED))
    assert len(one) == len(other) == 22
    assert one[:9] == [101, 2054, 2003, 1996, 9920, 3446, 2012, 25658, 102] and one[-2:] == [1037, 102]
    assert [place for place in range(22) if one[place] != other[place]] == [20] and other[20] == 25658


def test_fixtures_put_printed_numbers_beside_measured_ones(stand_in, tiny):
    rows = paper_model.fixtures(stand_in)
    assert [row["paper"] for row in rows[:2]] == [-5.6513, 4.3892]
    scores = stand_in.score(paper_model.DEMO_QUERY, [paper_model.DEMO_BASELINE[1], paper_model.DEMO_PERTURBED[1]])
    assert np.allclose([row["measured"] for row in rows[:2]], scores, atol=1e-4)
    assert all(row["measured"] == pytest.approx(0, abs=1e-5) for row in rows[2:]), "layer 10 is inert here"
    assert paper_model.fixtures(tiny)[-1]["measured"] is None, "a model without head 10.4 has no effect to show"


def test_overlap_of_heads_is_judged_against_chance():
    found = paper_model.overlap(["7.9", "8.1", "0.0", "11.11"], paper_model.MATCHING, 144)
    assert found["both"] == ["7.9", "8.1"] and found["expected_by_chance"] == pytest.approx(4 * 13 / 144)
    assert found["p_at_least"] == pytest.approx(sum(hypergeom(144, 13, 4).pmf(k) for k in (2, 3, 4)))
    assert paper_model.overlap([], paper_model.SCORING, 144)["p_at_least"] == pytest.approx(1)
    assert len(paper_model.MATCHING) == 13 and len(paper_model.SCORING) == 4


@pytest.mark.long
def test_a_run_under_the_paper_models_name(stand_in, monkeypatch, tmp_path):
    """Heads are found in the stand-in, and the report holds the comparison with what the authors printed."""
    wanted = ("u0", "matching_heads", "direct_effects", "contextual_heads")
    monkeypatch.setattr(reproduce, "EXPERIMENTS", {name: EXPERIMENTS[name] for name in wanted})
    monkeypatch.setattr(reproduce, "draw_figures", lambda study: None)
    monkeypatch.setattr(reproduce, "load", lambda name, device: stand_in)
    monkeypatch.setattr(Study, "size", lambda self, full, quick: min(full, quick, 10))
    report = reproduce.reproduce(paper_model.NAME, "classroom", tmp_path, quick=True, device="cpu")
    assert report["heads"]["matching"] and report["heads"]["scoring"]
    assert all(int(name.split(".")[0]) < 6 for heads in report["heads"].values() for name in heads), (
        "inert heads are not found"
    )
    comparison = json.loads((tmp_path / "report.json").read_text())["paper_model"]
    assert comparison["heads"]["matching"]["found"] == len(report["heads"]["matching"])
    assert {row["what"] for row in comparison["correlations"]} == set(paper_model.CLAIMS)
    assert "## Against what the authors printed" in (tmp_path / "report.md").read_text()
    found = json.loads((tmp_path / "run.json").read_text())["checks"]
    assert len(found) == 5 and max(found.values()) < checks.TOLERANCE


def test_without_the_hub_the_paper_model_ends_in_one_line(monkeypatch):
    from semanticbm import ladder

    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="out of reach.*--model classroom"):
        ladder.load(paper_model.NAME, "cpu")
