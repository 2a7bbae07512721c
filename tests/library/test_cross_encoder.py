"""Spans, scores and accessors against Hugging Face; every wrong input ends in one clear line."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from semanticbm import ladder
from semanticbm.bert import (
    after_heads,
    layers,
    mlp_projection,
    score_from_cls,
    self_attention,
    word_embeddings,
    z_projection,
)
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import TruncationWarning, UserError
from semanticbm.heads import head_name, parse_head
from semanticbm.ladder import backbone_folder, classroom_folder, load, load_backbone_classifier, pick_device

PAIRS = [("what is a bank", "The bank is near the river."), ("tosca", "Opera in three acts, unbelievably long")]


def test_spans_hold_the_pieces_of_both_texts(tiny):
    encoding = tiny.encode(PAIRS)
    for row, (query, document) in enumerate(PAIRS):
        tokens = tiny.tokens(encoding, row)
        start, stop = encoding.query_spans[row]
        assert tokens[start:stop] == tiny.tokenizer.tokenize(query)
        start, stop = encoding.document_spans[row]
        assert tokens[start:stop] == tiny.tokenizer.tokenize(document)
        assert tokens[0] == "[CLS]" and tokens[stop] == "[SEP]" and stop == len(tokens) - 1


def test_word_ids_join_pieces_of_one_word(tiny):
    encoding = tiny.encode([("unbelievably", "a cat")])
    start, stop = encoding.query_spans[0]
    assert stop - start > 1 and len({encoding.word_ids[0][place] for place in range(start, stop)}) == 1
    assert encoding.word_ids[0][0] is None


def test_scores_equal_hugging_face_one_by_one(tiny):
    """Batches are sorted and padded; a plain call on each pair alone must give the same numbers in the same order."""
    scores = tiny.score_pairs(PAIRS * 20, batch_size=7)
    for score, (query, document) in zip(scores, PAIRS * 20, strict=True):
        plain = tiny.hf(**tiny.tokenizer(query, document, return_tensors="pt")).logits.item()
        assert score == pytest.approx(plain, abs=1e-5)


def test_score_of_one_query(tiny):
    scores = tiny.score("bank", ["a river bank", "money"])
    assert scores.shape == (2,)
    assert np.allclose(scores, tiny.score_pairs([("bank", "a river bank"), ("bank", "money")]), atol=1e-6)


def test_token_types_matter(tiny):
    encoding = tiny.encode(PAIRS)
    without = tiny.hf(encoding.input_ids, encoding.attention_mask).logits[:, 0]
    assert (tiny.logits(encoding) - without).abs().max() > 1e-4


def test_attention_rows_sum_to_one_and_ignore_padding(tiny):
    encoding = tiny.encode(PAIRS)
    attention = tiny.attention(encoding)
    assert attention.shape == (3, 2, 4, encoding.input_ids.shape[1], encoding.input_ids.shape[1])
    assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)
    short = int(encoding.lengths.min())
    row = int(encoding.lengths.argmin())
    assert attention[:, row, :, :, short:].abs().max() == 0


def test_accessors_agree_between_hugging_face_and_nnsight(tiny):
    encoding = tiny.encode(PAIRS)
    seen = {}
    layer = layers(tiny.hf)[1]
    handles = [
        z_projection(layer).register_forward_pre_hook(lambda m, a: seen.__setitem__("z", a[0])),
        mlp_projection(layer).register_forward_hook(lambda m, a, out: seen.__setitem__("mlp", out)),
    ]
    tiny.hf(**encoding.inputs)
    for handle in handles:
        handle.remove()
    traced = tiny.traced
    with torch.no_grad(), traced.trace(**encoding.inputs):
        pattern = self_attention(layers(traced)[1]).output[1].save()
        z = z_projection(layers(traced)[1]).input.save()
        mlp = mlp_projection(layers(traced)[1]).output.save()
    assert torch.equal(z, seen["z"]) and torch.equal(mlp, seen["mlp"])
    assert torch.allclose(pattern, tiny.attention(encoding)[1])


def test_a_layer_after_its_heads_and_the_score_from_cls(tiny):
    encoding = tiny.encode(PAIRS)
    states = tiny.hf(**encoding.inputs, output_hidden_states=True).hidden_states
    seen = []
    handle = z_projection(layers(tiny.hf)[2]).register_forward_pre_hook(lambda m, a: seen.append(a[0]))
    tiny.hf(**encoding.inputs)
    handle.remove()
    assert torch.allclose(after_heads(layers(tiny.hf)[2], seen[0], states[2]), states[3], atol=1e-5)
    assert torch.allclose(score_from_cls(tiny.hf, states[3][:, 0]), tiny.logits(encoding), atol=1e-6)


# ---- long texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [lambda model, pair: model.encode([pair]), lambda model, pair: model.score_pairs([pair])]
)
def test_a_warning_names_the_line_that_led_to_it(tiny, call):
    with pytest.warns(TruncationWarning) as found:
        call(tiny, ("query", "word " * 600))
    assert [one.filename for one in found] == [__file__]


def test_long_documents_are_reported(tiny):
    long = "word " * 600
    with pytest.warns(TruncationWarning, match="1 of 2 pairs are over 512 tokens"):
        encoding = tiny.encode([("query", "short"), ("query", long)])
    assert encoding.truncated == [1] and int(encoding.lengths[1]) == 512
    with pytest.raises(UserError, match="over 512 tokens"):
        tiny.encode([("query", long)], truncate=False)


def test_short_documents_do_not_warn(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tiny.encode(PAIRS).truncated == []


def test_a_query_that_fills_the_window_is_refused(tiny):
    with pytest.raises(UserError, match="query alone"):
        tiny.encode([("word " * 520, "document")])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("", "text"), "the query is empty"),
        (("  \n", "text"), "the query is empty"),
        (("text", ""), "the document is empty"),
        ((None, "text"), "not text"),
        (("text", 3), "not text"),
    ],
)
def test_bad_texts(tiny, pair, message):
    with pytest.raises(UserError, match=message):
        tiny.encode([pair])


def test_no_documents_and_one_text_instead_of_a_list(tiny):
    with pytest.raises(UserError, match="at least one document"):
        tiny.score("query", [])
    with pytest.raises(UserError, match="not a list of texts"):
        tiny.score("query", "document")


def test_scores_that_are_not_numbers_are_refused(tokenizer, tiny):
    import copy

    broken = copy.deepcopy(tiny.hf)
    broken.classifier.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        CrossEncoder(broken, tokenizer, "broken").score("query", ["document"])


# ---- heads and devices ---------------------------------------------------------------------------------------------


def test_head_names():
    assert parse_head("4.11") == (4, 11) and head_name(4, 11) == "4.11"
    for bad in ("4", "4.", "a.b", "4.5.6", "-1.2"):
        with pytest.raises(UserError, match="not a head"):
            parse_head(bad)


def test_unknown_head(tiny):
    tiny.check_head(2, 3)
    with pytest.raises(UserError, match="no head 3.0"):
        tiny.check_head(3, 0)


def test_devices():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="not a device"):
        pick_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="does not have it"):
            pick_device("cuda")


# ---- loading -------------------------------------------------------------------------------------------------------


def test_backbone_is_verified(monkeypatch, tmp_path):
    assert (backbone_folder() / "model.safetensors").is_file()
    monkeypatch.setattr(ladder, "BACKBONE_SHA256", "0" * 64)
    with pytest.raises(UserError, match="damaged"):
        backbone_folder()


def test_backbone_comes_from_the_hub_where_the_package_is_missing(monkeypatch):
    """Without the package the pinned revision is asked from the hub; here a folder stands in for the download."""
    folder, asked = backbone_folder(), []
    monkeypatch.setattr(ladder, "BACKBONE_PACKAGE", "no_such_package")
    monkeypatch.setattr(ladder, "download", lambda repo, revision, instead: asked.append((repo, revision)) or folder)
    assert backbone_folder() == folder
    assert asked == [(ladder.BACKBONE_REPO, ladder.BACKBONE_REVISION)]


def test_hub_out_of_reach_is_one_clear_line(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("semanticbm.loading.checkpoints.snapshot_download", refuse)
    with pytest.raises(UserError, match="hub is out of reach.*use --model classroom"):
        load("minilm-l12")


@pytest.mark.parametrize("name", ["nonsense", "./missing", "a/b/c"])
def test_unknown_models(name):
    with pytest.raises(UserError, match="unknown model"):
        load(name)


def test_a_folder_loads_and_scores_as_the_model_that_was_saved(tiny, tmp_path):
    tiny.hf.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert np.allclose(again.score_pairs(PAIRS), tiny.score_pairs(PAIRS), atol=1e-6)


def test_damaged_and_missing_weights(tiny, tmp_path):
    tiny.hf.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="only safetensors"):
        load(str(tmp_path))


def test_more_than_one_logit_is_refused(tmp_path, tokenizer):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="one logit"):
        load(str(tmp_path))


@pytest.fixture
def adapter_copy(tmp_path, classroom_model):
    return shutil.copytree(classroom_folder(), tmp_path / "adapter")


def test_a_flipped_byte_in_the_adapter_is_refused(adapter_copy):
    weights = bytearray((adapter_copy / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (adapter_copy / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="damaged"):
        load(str(adapter_copy))


def test_adapter_is_small_and_names_its_origin():
    if not (classroom_folder() / "adapter_model.safetensors").is_file():
        pytest.skip("the classroom adapter is not in the package")
    assert (classroom_folder() / "adapter_model.safetensors").stat().st_size < 8e6
    card = json.loads((classroom_folder() / "semanticbm.json").read_text())
    assert card["backbone_sha256"] == ladder.BACKBONE_SHA256 and card["data_sha256"]


def test_merging_is_exact(classroom_model):
    """Merged weights against peft's own unmerged forward."""
    from peft import PeftModel

    unmerged = PeftModel.from_pretrained(load_backbone_classifier(), str(classroom_folder())).eval()
    encoding = classroom_model.encode(PAIRS)
    with torch.no_grad():
        assert torch.allclose(unmerged(**encoding.inputs).logits[:, 0], classroom_model.logits(encoding), atol=1e-4)


def test_merging_by_hand(classroom_model):
    """One matrix, merged with the formula of the docstring: W + (alpha / r) B A."""
    state = load_file(classroom_folder() / "adapter_model.safetensors")
    config = json.loads((classroom_folder() / "adapter_config.json").read_text())
    name = "base_model.model.bert.encoder.layer.2.attention.self.query.lora_{}.weight"
    a, b = state[name.format("A")].float(), state[name.format("B")].float()
    before = load_file(backbone_folder() / "model.safetensors")["encoder.layer.2.attention.self.query.weight"]
    merged = before + config["lora_alpha"] / config["r"] * b @ a
    assert torch.allclose(merged, self_attention(layers(classroom_model.hf)[2]).query.weight, atol=1e-6)


def test_word_embeddings_are_the_backbones(classroom_model):
    before = load_file(backbone_folder() / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(word_embeddings(classroom_model.hf).weight, before)


def test_pickles_are_never_loaded(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="only safetensors"):
        load(str(tmp_path))


def test_the_random_control_has_the_classroom_models_shape_and_nothing_learned(classroom_model):
    one, again = load("random", "cpu"), load("random", "cpu")
    assert (one.n_layers, one.n_heads, one.d_model) == (6, 12, 384) and one.name == "random"
    texts = ["the bank of the river", "dogs bark at night", "a bank lends money"]
    assert np.array_equal(one.score("river bank", texts), again.score("river bank", texts)), (
        "the same weights every time"
    )
    assert np.ptp(one.score("river bank", texts)) > 0.01, "different texts get different scores"
    assert not torch.allclose(word_embeddings(one.hf).weight, word_embeddings(classroom_model.hf).weight)
    assert one.attention(one.encode([("river bank", texts[0])])).shape[0] == 6, "attention patterns can be read"
