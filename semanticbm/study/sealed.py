"""Result files that can tell when they were changed: JSON objects with a hash of their own content.

A run takes minutes and its files live for months, so one of them will be cut short, merged badly or edited by hand one
day. `seal` puts the SHA-256 of the content beside it, `read_sealed` refuses a file that does not fit its hash, in one
line. The hash is taken over the values, not the bytes: line ends, indentation and the order of keys do not matter.

When it misleads: a seal shows accidents, not intent. Whoever edits a number can also write a new hash.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from semanticbm.errors import UserError
from semanticbm.loading.files import write_text

KEY = "sha256"


def plain(value):
    """Plain JSON values: numpy numbers and arrays, tuples, data classes and NaNs are converted."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def content_hash(content: dict) -> str:
    """SHA-256 of a JSON object without its own seal."""
    bare = {key: value for key, value in content.items() if key != KEY}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def seal(content: dict) -> dict:
    """The content as plain JSON with its hash."""
    content = plain(content)
    return content | {KEY: content_hash(content)}


def write_sealed(path: Path, content: dict) -> None:
    """Write a sealed JSON object, whole or not at all."""
    write_text(path, json.dumps(seal(content), indent=1))


def read_sealed(path: Path) -> dict:
    """Read a sealed JSON object; `UserError` if the file is missing, no JSON object, or not what was written."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): run `semanticbm reproduce` again.") from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is damaged (no JSON in UTF-8): delete it and run `semanticbm reproduce` again."
        ) from None
    if not isinstance(content, dict) or KEY not in content:
        raise UserError(f"{path} is no result of this version (it has no seal): delete it and run it again.")
    if content[KEY] != content_hash(content):
        raise UserError(f"{path} was changed after it was written: delete it and run `semanticbm reproduce` again.")
    return content
