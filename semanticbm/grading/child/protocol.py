"""What judge and student's process say to each other: one message, one answer, over a pair of pipes.

A message is a dictionary. On the wire it is a frame: two lengths, a header of JSON, and the arrays of the message as
safetensors. There is no pickle, so reading a message runs no code of the sender.

=====================================  =============================================================================
value                                  in the header
=====================================  =============================================================================
None, bool, float, text, small int     as JSON has it (NaN and infinities, too)
list                                   a JSON list
everything else                        a dictionary with one key, the kind: `tuple`, `set`, `dict` (keys and values in turn),
                                       `int` (hexadecimal), `array`, `scalar` (of NumPy), `tensor`, `described`;
                                       from the judge alone also `generator` (its state) and `model` (its recipe)
=====================================  =============================================================================

Arrays, NumPy's scalars and tensors keep their dtype. The judge, who computes with NumPy, gets tensors as arrays, and
bfloat16 as float32. What has another kind comes back as a `Described`: its type's name.
pandas objects and others that are arrays at heart are sent as arrays; ranges and other sequences, and arrays of
texts, as lists.

When it misleads: two names for one list become two lists, so an argument changed in place is seen only by asking for
the arguments again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np
from safetensors.numpy import load, save

MAX_HEADER, MAX_BLOB = 1_000_000, 4_000_000  # bytes
MAX_DEPTH, MAX_ITEMS, MAX_TEXT, MAX_BITS = 8, 20_000, 10_000, 1000
KINDS = ("tuple", "set", "dict", "int", "array", "scalar", "tensor", "bfloat16", "described", "generator", "model")
LENGTHS = struct.Struct(">II")


class Malformed(Exception):
    """What came over the pipe is no message."""


@dataclass(frozen=True)
class Described:
    """Stands for a value of a kind that is not sent: its kind in words."""

    kind: str


@dataclass(frozen=True)
class Recipe:
    """A random model by shape and seed, and which part of it is meant: "hf", "traced", or "encoder" for all."""

    n_layers: int
    n_heads: int
    d_head: int
    seed: int
    part: str = "encoder"


# --------------------------------------------------------------------------------------------------------------------
# Values to JSON


class Encoder:
    """Turns values into JSON; puts their arrays aside. `strict` raises TypeError where else a description is sent."""

    def __init__(self, strict: bool):
        self.strict, self.arrays, self.room, self.items = strict, {}, MAX_BLOB // 2, MAX_ITEMS

    def encode(self, value, depth: int = 0):
        """The value as JSON; see the table above."""
        self.items -= 1
        if depth > MAX_DEPTH or self.items < 0:
            return self._describe("a value too large or too deep to send", value)
        for kinds, encode in _ENCODERS:
            if isinstance(value, kinds):
                return encode(self, value, depth)
        if hasattr(value, "detach") and hasattr(value, "numpy"):
            return self._tensor(value)
        if self.strict and (recipe := recipe_of(value)):
            return {"model": [recipe.n_layers, recipe.n_heads, recipe.d_head, recipe.seed, recipe.part]}
        if hasattr(value, "__array__") and not isinstance(value, type):
            return self._array(np.asarray(value), depth)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return self._list(value, depth)
        return self._describe(type(value).__name__, value)

    def _describe(self, kind: str, value):
        if self.strict:
            raise TypeError(f"a {type(value).__name__} cannot be an argument of an exercise: {kind}")
        return {"described": str(kind)[:60]}

    def _int(self, value: int, _depth: int):
        if abs(value) < 2**53:
            return int(value)
        return {"int": hex(value)} if value.bit_length() <= MAX_BITS else self._describe("a huge integer", value)

    def _text(self, value: str, _depth: int):
        self.items -= len(value) // 100
        return value[:] if len(value) <= MAX_TEXT else self._describe(f"a text of {len(value)} characters", value)

    def _list(self, value, depth: int):
        if len(value) > max(self.items, 0):
            return self._describe(f"a {type(value).__name__} of {len(value)} items", value)
        return [self.encode(one, depth + 1) for one in islice(value, MAX_ITEMS)]

    def _tuple(self, value: tuple, depth: int):
        items = self._list(value, depth)
        return {"tuple": items} if isinstance(items, list) else items

    def _set(self, value: set, depth: int):
        items = self._list(value, depth)
        return {"set": items} if isinstance(items, list) else items

    def _dict(self, value: dict, depth: int):
        items = self._list([part for pair in islice(value.items(), MAX_ITEMS) for part in pair], depth)
        return {"dict": items} if isinstance(items, list) else items

    def _generator(self, value: np.random.Generator, _depth: int):
        return {"generator": value.bit_generator.state} if self.strict else self._describe("Generator", value)

    def _scalar(self, value: np.generic, depth: int):
        return self._array(np.asarray(value), depth, "scalar")

    def _array(self, value: np.ndarray, depth: int, kind: str = "array"):
        if value.dtype.kind in "OUT" and kind == "array" and value.ndim:
            return self._list(value.tolist(), depth) if value.size <= MAX_ITEMS else self._describe("array", value)
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            return self._describe(f"{kind} of {value.dtype.name}", value)
        return self._aside(kind, value)

    def _tensor(self, value):
        try:
            half = str(value.dtype) == "torch.bfloat16"
            array = value.detach().cpu()
            array = array.float().numpy() if half else array.numpy()
        except (RuntimeError, TypeError):
            return self._describe(type(value).__name__, value)
        if array.dtype.kind not in "biuf":
            return self._describe(f"tensor of {array.dtype.name}", value)
        return self._aside("bfloat16" if half else "tensor", array)

    def _aside(self, kind: str, value: np.ndarray):
        self.room -= value.nbytes + 200
        if self.room < 0:
            return self._describe(f"{kind} of shape {list(value.shape)}", value)
        name = str(len(self.arrays))
        self.arrays[name] = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {kind: name}


def _plain(_encoder: Encoder, value, _depth: int):
    return value


_ENCODERS = (
    ((bool, type(None)), _plain),
    (str, Encoder._text),  # also NumPy's texts
    (np.generic, Encoder._scalar),  # before float: a float64 of NumPy is both
    (float, lambda _encoder, value, _depth: float(value)),
    (int, Encoder._int),
    (list, Encoder._list),
    (tuple, Encoder._tuple),
    (set, Encoder._set),
    (dict, Encoder._dict),
    (np.ma.MaskedArray, lambda encoder, value, _depth: encoder._describe("a masked array", value)),
    (np.ndarray, Encoder._array),
    (np.random.Generator, Encoder._generator),
    (Described, lambda _encoder, value, _depth: {"described": str(value.kind)[:60]}),
)


def recipe_of(value) -> Recipe | None:
    """The recipe of a model that `semanticbm.grading.child.models` built, or of a part of it."""
    return getattr(value, "recipe", None) if isinstance(getattr(value, "recipe", None), Recipe) else None


# --------------------------------------------------------------------------------------------------------------------
# JSON to values


class Decoder:
    """Turns JSON back into values. `build(recipe)` makes models; without it, as in the judge, models and generators are
    refused, and tensors are arrays, so that no answer makes the judge import PyTorch.
    """

    def __init__(self, arrays: dict[str, np.ndarray], build: Callable | None = None):
        self.arrays, self.build = arrays, build

    def decode(self, value, depth: int = 0):
        """The value behind the JSON. Whatever is wrong with it raises."""
        if depth > MAX_DEPTH + 2:
            raise Malformed("too deep")
        if isinstance(value, list):
            return [self.decode(one, depth + 1) for one in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind not in KINDS:
            raise Malformed("unknown kind")
        return getattr(self, f"_{kind}")(content, depth)

    def _tuple(self, content, depth: int):
        return tuple(self.decode(one, depth + 1) for one in content)

    def _set(self, content, depth: int):
        return set(self._tuple(content, depth))

    def _dict(self, content, depth: int):
        parts = [self.decode(one, depth + 1) for one in content]
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def _int(self, content, _depth: int):
        return int(content[: MAX_BITS // 2], 16)

    def _array(self, content, _depth: int):
        return self.arrays.pop(content)  # once: else a short message could stand for terabytes

    def _scalar(self, content, _depth: int):
        return self.arrays.pop(content)[()]

    def _tensor(self, content, _depth: int):
        array = self.arrays.pop(content)
        if self.build is None:
            return array
        import torch

        return torch.from_numpy(array)

    def _bfloat16(self, content, depth: int):
        value = self._tensor(content, depth)
        return value if self.build is None else value.bfloat16()

    def _described(self, content, _depth: int):
        return Described("".join(one for one in str(content)[:60] if one.isprintable()))

    def _generator(self, content, _depth: int):
        self._refuse_unless_asked()
        generator = np.random.default_rng(0)
        generator.bit_generator.state = content
        return generator

    def _model(self, content, _depth: int):
        self._refuse_unless_asked()
        return self.build(Recipe(*content))

    def _refuse_unless_asked(self) -> None:
        if self.build is None:
            raise Malformed("only the judge sends models and generators")


# --------------------------------------------------------------------------------------------------------------------
# Messages


def to_frame(message: dict, strict: bool = False) -> bytes:
    """A message as bytes. Its keys are texts, its values anything; too large a message becomes a description."""
    encoder = Encoder(strict)
    header = json.dumps({key: encoder.encode(value) for key, value in message.items()}).encode()
    blob = save(encoder.arrays) if encoder.arrays else b""
    if len(header) > MAX_HEADER or len(blob) > MAX_BLOB:
        return to_frame({key: Described("a value too large to send") for key in message})
    return LENGTHS.pack(len(header), len(blob)) + header + blob


def from_frame(header: bytes, blob: bytes, build: Callable | None = None) -> dict:
    """The message in a frame; `Malformed` for anything else."""
    try:
        decoder = Decoder({name: np.array(one) for name, one in load(blob).items()} if blob else {}, build)
        return {str(key): decoder.decode(value) for key, value in json.loads(header).items()}
    except Exception as error:  # whatever a hostile sender can bring about
        raise Malformed(type(error).__name__) from None


def again(value, strict: bool = False, build: Callable | None = None):
    """What arrives at the other end if `value` is sent: for answers that run in this process."""
    frame = to_frame({"value": value}, strict)
    size, _ = LENGTHS.unpack(frame[: LENGTHS.size])
    rest = frame[LENGTHS.size :]
    return from_frame(rest[:size], rest[size:], build)["value"]


def _read(stream: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (part := stream.read(min(size, 65536))):
        parts.append(part)
        size -= len(part)
    if size:
        raise EOFError
    return b"".join(parts)


def receive(stream: BinaryIO, build: Callable | None = None) -> dict:
    """Wait for a message. EOFError if the sender is gone, `Malformed` if it talks nonsense."""
    header, blob = LENGTHS.unpack(_read(stream, LENGTHS.size))
    if header > MAX_HEADER or blob > MAX_BLOB:
        raise Malformed("too large")
    return from_frame(_read(stream, header), _read(stream, blob), build)


def send(stream: BinaryIO, message: dict, strict: bool = False) -> None:
    """Send a message at once."""
    stream.write(to_frame(message, strict))
    stream.flush()
