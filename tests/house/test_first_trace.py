"""The trace that README and preface show is real code: it runs, and does what the text says."""

import re
import runpy

import pytest
import torch
from builders import ROOT

from semanticbm.bert import layers, z_projection


def traces(page: str) -> list[str]:
    """The Python blocks of a page that hold an nnsight trace."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for block in re.findall(r"^```\{?python\}?\n(.*?)^```", text, re.M | re.S) if ".trace(" in block]


@pytest.mark.parametrize(("page", "name"), [("README.md", "score"), ("index.qmd", "silenced")])
def test_the_shown_trace_silences_head_5_0(page, name, classroom_model, monkeypatch, tmp_path):
    (block,) = traces(page)
    (tmp_path / "shown.py").write_text(block, encoding="utf-8")  # nnsight reads a trace's source from its file
    monkeypatch.setattr("semanticbm.ladder.load", lambda name, device="auto": classroom_model)
    shown = runpy.run_path(str(tmp_path / "shown.py"))

    def silence(_, given):
        z = given[0].clone()
        z[..., : classroom_model.d_head] = 0
        return (z,)

    hook = z_projection(layers(classroom_model.hf)[5]).register_forward_pre_hook(silence)
    with torch.no_grad():
        expected = float(classroom_model.hf(**shown["pair"].inputs).logits)
    hook.remove()
    assert float(shown[name]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected - float(classroom_model.logits(shown["pair"]))) > 0.01
