"""Models of strangers: a checkpoint that does not fit its configuration is refused, with what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from semanticbm.errors import UserError
from semanticbm.ladder import backbone_folder, classroom_folder, load

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A good folder: a small BERT with one logit and BERT's own tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (backbone_folder() / name).is_file():
            shutil.copy(backbone_folder() / name, folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "model")


def change_weights(folder, change):
    """Rewrite the weights: `change` takes and returns {key: tensor}."""
    path = folder / "model.safetensors"
    save_file({key: value.contiguous() for key, value in change(load_file(path)).items()}, path, {"format": "pt"})


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        load(str(folder), "cpu")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_good_folder_loads_and_gives_the_same_scores_twice(whole):
    pairs = [("river bank", "the water"), ("river bank", "money")]
    assert np.array_equal(load(str(whole), "cpu").score_pairs(pairs), load(str(whole), "cpu").score_pairs(pairs))


@pytest.mark.parametrize("part", ["classifier.", "bert.pooler.", "bert.encoder.layer.1.attention.self.query."])
def test_missing_weights_are_listed(folder, part):
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if not key.startswith(part)})
    refused(folder, "missing", part)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model."])
def test_prefixed_keys_are_refused(folder, prefix):
    change_weights(folder, lambda weights: {prefix + key: value for key, value in weights.items()})
    refused(folder, "missing")


@pytest.mark.parametrize(
    "size", ["num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"]
)
def test_sizes_that_no_weight_has_are_refused_before_a_network_of_that_size_is_built(folder, size):
    change_config(folder, **{size: 12 * 10**9})
    refused(folder, f"{size} = 12000000000")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"is_decoder": True}, "decoder"),
        ({"add_cross_attention": True}, "decoder"),
        ({"type_vocab_size": 1}, "type_vocab_size = 1"),
        ({"position_embedding_type": "relative_key"}, "relative_key positions"),
    ],
)
def test_a_bert_that_is_no_cross_encoder_is_refused(folder, values, word):
    """Its weights fit, and its scores would be wrong without a word."""
    change_config(folder, **values)
    refused(folder, word)


@pytest.mark.parametrize(("layers", "word"), [(1, "unexpected"), (3, "missing")])
def test_another_number_of_layers_is_refused(folder, layers, word):
    change_config(folder, num_hidden_layers=layers)
    refused(folder, word, "layer")


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 3},
        {"hidden_size": "16"},
        {"vocab_size": None},
        {"num_labels": 2},
        {"model_type": "distilbert"},
        {"model_type": "nobert"},
    ],
)
def test_impossible_configurations_are_refused(folder, values):
    change_config(folder, **values)
    refused(folder)


def test_another_shape_is_refused(folder):
    change_config(folder, intermediate_size=32)
    refused(folder)


def test_weights_that_are_no_numbers_are_refused(folder):
    def spoil(weights):
        weights["classifier.weight"][0, 0] = float("nan")
        return weights

    change_weights(folder, spoil)
    refused(folder, "classifier.weight", "not numbers")


def test_half_precision_is_computed_in_float32(folder, whole):
    change_weights(folder, lambda weights: {key: value.half() for key, value in weights.items()})
    change_config(folder, torch_dtype="float16", dtype="float16")
    model = load(str(folder), "cpu")
    assert {value.dtype for value in model.hf.state_dict().values() if value.is_floating_point()} == {torch.float32}
    pairs = [("river bank", "the water wears it away")]
    assert model.score_pairs(pairs) == pytest.approx(load(str(whole), "cpu").score_pairs(pairs), abs=0.01)


def test_a_folder_without_tokenizer_files_is_refused(folder):
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
    refused(folder, "tokenizer")


def test_a_vocabulary_that_does_not_fit_is_refused(folder):
    def cut(weights):
        name = "bert.embeddings.word_embeddings.weight"
        return weights | {name: weights[name][:20000].clone()}

    change_weights(folder, cut)
    change_config(folder, vocab_size=20000)
    refused(folder, "20,000", "30,522")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"model_type": 5}'])
def test_damaged_configurations_are_one_line(folder, content):
    (folder / "config.json").write_bytes(content)
    refused(folder, "config.json")


def test_damaged_weights_are_one_line(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(folder, "weights")


def test_pickled_weights_are_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "safetensors")


def test_an_adapter_with_unknown_keys_is_refused(tmp_path):
    from semanticbm.loading.checkpoints import sha256

    folder = shutil.copytree(classroom_folder(), tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    save_file(load_file(weights) | {"base_model.model.stray.weight": torch.zeros(2)}, weights)
    card = folder / "semanticbm.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"adapter_sha256": sha256(weights)}))
    refused(folder, "unexpected", "stray")


def test_special_tokens_in_a_text_are_text(tiny):
    encoding = tiny.encode([("river [SEP] bank", "[CLS] money [PAD] [SEP]")])
    special = {tiny.tokenizer.cls_token_id, tiny.tokenizer.sep_token_id, tiny.tokenizer.pad_token_id}
    ids = encoding.input_ids[0].tolist()
    inside = [ids[place] for span in (encoding.query_spans[0], encoding.document_spans[0]) for place in range(*span)]
    assert not special & set(inside) and ids.count(tiny.tokenizer.sep_token_id) == 2


@pytest.mark.parametrize("text", ["\u200b\u200d", "\ufeff", "\x00\x01"])
def test_texts_without_a_readable_character_are_refused(tiny, text):
    for pair in ((text, "a document"), ("a query", text)):
        with pytest.raises(UserError):
            tiny.score_pairs([pair])


def test_half_characters_are_scored(tiny):
    assert np.isfinite(tiny.score("a \ud800 query", ["a \udfff document", "plain"])).all()
