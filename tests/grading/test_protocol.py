"""The protocol between judge and student's process: what is sent arrives, and nonsense is harmless."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semanticbm.grading.child import models
from semanticbm.grading.child.protocol import (
    KINDS,
    LENGTHS,
    MAX_BLOB,
    MAX_HEADER,
    Described,
    Malformed,
    again,
    from_frame,
    receive,
    send,
    to_frame,
)

NUMBERS = st.one_of(
    arrays.integer_dtypes(endianness="="),
    arrays.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    st.just(np.dtype(bool)),
)
ARRAYS = arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["\ud800", "\x1b[31m", "a\tb", ""]),
)
KEYS = st.one_of(st.integers(), st.text(max_size=8), st.tuples(st.integers(), st.text(max_size=3)))
VALUES = st.recursive(
    st.one_of(SCALARS, ARRAYS, ARRAYS.map(lambda array: array.reshape(-1)[0] if array.size else None)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(KEYS, max_size=4),
    ),
    max_leaves=10,
)


def alike(one, other) -> bool:
    """Equal in value, kind and dtype; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (np.ndarray, np.generic)):
        same_kind = one.dtype == other.dtype and one.shape == other.shape
        return same_kind and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return (isinstance(one, float) and math.isnan(one) and math.isnan(other)) or one == other


@settings(max_examples=300, deadline=None)
@given(VALUES, st.booleans())
def test_what_is_sent_arrives(value, strict):
    assert alike(again(value, strict), value)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=4))
def test_messages_come_one_after_the_other(values):
    stream = io.BytesIO()
    for value in values:
        send(stream, {"value": value})
    stream.seek(0)
    assert all(alike(receive(stream)["value"], value) for value in values)
    with pytest.raises(EOFError):
        receive(stream)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_nonsense_is_malformed_and_nothing_else(data):
    with pytest.raises((Malformed, EOFError)):
        while True:
            receive(io.BytesIO(data))
            data = data[1:]


JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KINDS, "refuse_unless_asked", "_init__"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(JSON, st.binary(max_size=40))
def test_a_forged_header_gives_a_value_or_is_malformed(header, blob):
    try:
        found = from_frame(json.dumps({"value": header}).encode(), blob)
    except Malformed:
        return
    assert list(found) == ["value"]


@settings(max_examples=200, deadline=None)
@given(VALUES, st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_never_breaks_the_judge(value, place, flip):
    frame = bytearray(to_frame({"value": value}))
    frame[LENGTHS.size + place % (len(frame) - LENGTHS.size)] ^= flip
    try:
        receive(io.BytesIO(bytes(frame)))
    except (Malformed, EOFError):
        pass
    else:
        assert len(frame) > LENGTHS.size


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_tensors_keep_their_dtype(dtype):
    tensor = torch.tensor([[0, 1], [2, 3]]).to(dtype)
    found = again(tensor, True, models.build)
    assert found.dtype == dtype and torch.equal(found, tensor)
    as_array = again(tensor[:, 1])
    assert isinstance(as_array, np.ndarray) and as_array.tolist() == tensor[:, 1].tolist()
    assert as_array.dtype == (tensor.float() if dtype == torch.bfloat16 else tensor).numpy().dtype


def test_what_has_a_gradient_arrives_without():
    assert not again(torch.ones(2, requires_grad=True), True, models.build).requires_grad


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (pd.Series([1.5, 2.5]), np.array([1.5, 2.5])),
        (np.array(["a", "b"]), ["a", "b"]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (range(3), [0, 1, 2]),
        (np.str_("a"), "a"),
        (np.arange(6).reshape(2, 3)[:, ::2], np.array([[0, 2], [3, 5]])),
        (np.arange(3, dtype=">i4"), np.arange(3, dtype="i4")),
    ],
)
def test_near_kinds_arrive_as_the_nearest(value, arrives):
    assert alike(again(value), arrives)


def unknown_values():
    nested = []
    nested.append(nested)
    return [
        object(), len, iter([1]), 3j, b"x", np.array([1j]), torch.tensor([1j]), 10**400, "x" * 10**6, list(range(10**6)),
        np.zeros(10**6), {1: nested}, np.array([object()]), type, torch.nn.Linear(2, 2), np.random.default_rng(0),
        models.tiny_model(2, 2, 2, 0).hf, np.ma.masked, torch.eye(2).to_sparse(), frozenset([1]), np.datetime64("2020"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(unknown_values())))
def test_other_values_come_as_a_description(number):
    value = unknown_values()[number]
    frame = to_frame({"value": value})
    assert len(frame) < MAX_HEADER + MAX_BLOB and "described" in frame[LENGTHS.size :].decode("latin-1")
    assert receive(io.BytesIO(frame))


def test_the_judge_may_not_send_what_would_arrive_as_something_else():
    with pytest.raises(TypeError, match="cannot be an argument"):
        again(len, strict=True)


def test_a_model_arrives_as_the_same_model_built_anew():
    model = models.tiny_model(2, 2, 3, 7)
    built = []

    def build(recipe):
        built.append(recipe)
        models.tiny_model.cache_clear()
        return models.build(recipe)

    for part in (model, model.hf, model.traced):
        found = again(part, strict=True, build=build)
        assert found is not part and type(found) is type(part)
    other = again(model.hf, strict=True, build=build)
    assert all(torch.equal(one, two) for one, two in zip(model.hf.parameters(), other.parameters(), strict=True))
    assert [recipe.part for recipe in built] == ["encoder", "hf", "traced", "hf"]


def test_a_generator_arrives_in_its_state():
    generator = np.random.default_rng(3)
    generator.random(5)
    found = again(generator, strict=True, build=models.build)
    assert found is not generator and found.random() == generator.random()


@pytest.mark.parametrize("kind", ["model", "generator"])
def test_the_judge_builds_nothing_that_a_student_asks_for(kind):
    header = json.dumps({"value": {kind: [1000, 1000, 1000, 0, "hf"]}}).encode()
    with pytest.raises(Malformed):
        from_frame(header, b"")


def test_one_array_cannot_stand_for_many():
    frame = to_frame({"value": [np.zeros(10)]})
    header_size, _ = LENGTHS.unpack(frame[: LENGTHS.size])
    blob = frame[LENGTHS.size + header_size :]
    with pytest.raises(Malformed):
        from_frame(json.dumps({"value": [{"array": "0"}] * 1000}).encode(), blob)


def test_a_length_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(Malformed, match="too large"):
        receive(io.BytesIO(LENGTHS.pack(2**32 - 1, 0)))


def test_described_values_are_sent_on():
    assert again(Described("thing")) == Described("thing")
