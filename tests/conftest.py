"""Shared fixtures: the tokenizer, small random networks, the classroom's collection and model, the data of others.

Fixtures of the whole session are built once a process: no test may change what they give.
"""

import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from browser import opened_browser, why_not
from builders import ROOT, copy_as, random_bert

from semanticbm.collection import Collection, load_collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.ladder import backbone_tokenizer, classroom_folder, load

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return backbone_tokenizer()


@pytest.fixture(scope="session")
def tiny(tokenizer) -> CrossEncoder:
    """A random BERT with 3 layers of 4 heads: big enough for every mechanism, small enough for thousands of runs."""
    return random_bert(tokenizer, 3, 4, d_head=8, d_mlp=64, name="tiny")


@pytest.fixture(scope="session")
def model(tokenizer) -> CrossEncoder:
    """As `tiny`, in double precision and with larger weights: attention is far from even, equal means to 1e-12."""
    return copy_as(random_bert(tokenizer, 3, 4, d_head=6, d_mlp=48, spread=0.5), torch.double)


@pytest.fixture(scope="session")
def classroom() -> Collection:
    """The classroom collection, whole."""
    return load_collection("classroom")


@pytest.fixture(scope="session")
def classroom_model() -> CrossEncoder:
    if not (classroom_folder() / "adapter_model.safetensors").is_file():
        pytest.skip("the classroom adapter is not in the package")
    return load("classroom", "cpu")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    if reason := why_not():
        pytest.skip(reason)
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real data of others, which is not part of the repository."""
    folder = Path(os.environ.get("SEMANTICBM_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the real data is not here: set SEMANTICBM_DATA to its folder")
    return folder
