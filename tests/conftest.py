"""Shared fixtures: small random cross-encoders with BERT's real tokenizer, and the models of the ladder."""

import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.ladder import backbone_folder, classroom_folder, load, load_tokenizer

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(backbone_folder())


@pytest.fixture(scope="session")
def tiny(tokenizer):
    """A random BERT with 3 layers of 4 heads: big enough for every mechanism, small enough for thousands of runs."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.4,
        attn_implementation="eager",
    )
    return CrossEncoder(BertForSequenceClassification(config), tokenizer, "tiny")


@pytest.fixture(scope="session")
def classroom_model():
    if not (classroom_folder() / "adapter_model.safetensors").is_file():
        pytest.skip("the classroom adapter is not in the package")
    return load("classroom", "cpu")


@pytest.fixture(scope="session")
def data_folder():
    """The folder with the real data of others, which is not part of the repository."""
    folder = Path(os.environ.get("SEMANTICBM_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the real data is not here: set SEMANTICBM_DATA to its folder")
    return folder
