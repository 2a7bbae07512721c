"""The libraries of a student's file: which ones wait until they are used, and that nobody's time pays for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from semanticbm.grading.child.libraries import LATE, UNREAD, can_wait

ROOT = Path(__file__).parents[2]
ANSWERS = f"""{UNREAD}

import torch

from semanticbm.bert import layers


def helper(x):
    return [torch.tensor(one) for one in x]


def plain(x: torch.Tensor) -> torch.Tensor:
    return 1


def uses(x):
    return len(helper(x))
"""
ASK = """
import sys
from pathlib import Path
from semanticbm.grading.child.libraries import LateFinder, Later
from semanticbm.grading.child.main import Answering

def loaded(*_):
    print("torch" in sys.modules and type(sys.modules["torch"]) is not Later)

sys.meta_path.insert(0, LateFinder())
answering = Answering(Path(sys.argv[1]), 10, loaded)
answering.answer({"open": "answers"})
for function in ("plain", "uses"):
    print(answering.answer({"call": function, "args": ([1.0],), "kwargs": {}})["value"])
print("transformers" in sys.modules)
"""
CHECK = """
import sys
from pathlib import Path
from rich.console import Console
from semanticbm.grading.commands import results_of

for exercise in sys.argv[2:]:
    print(results_of(exercise, Path(sys.argv[1]), Console())[0].status)
print(sorted({"torch", "nnsight", "transformers", "sklearn"} & set(sys.modules)))
"""
IN_NUMPY = ("2.1", "2.2", "2.3", "4.1", "4.2", "4.7")  # in chapters whose other exercises need PyTorch


@pytest.mark.parametrize(
    ("lines", "waits"),
    [
        (f"{UNREAD}\n\nimport torch", True),
        (f"{UNREAD}\n\nimport torch\n\ndef f(x: torch.Tensor) -> torch.Tensor:\n    return torch.abs(x)", True),
        ("import torch", False),
        (f"{UNREAD}\nfrom torch import nn", False),
        (f"{UNREAD}\nimport torch.nn.functional as F", False),
        (f"{UNREAD}\nimport torch\ntorch.manual_seed(0)", False),
        (f"{UNREAD}\nimport torch\nclass A(torch.nn.Module):\n    pass", False),
        (f"{UNREAD}\nimport torch\n@torch.no_grad()\ndef f(x):\n    return x", False),
        (f"{UNREAD}\nimport torch\ndef f(x, *, kind=torch.float32):\n    return x", False),
        (f"{UNREAD}\ndef f(x):\n    import torch\n    return torch.abs(x)", False),
    ],
)
def test_a_library_waits_where_nothing_needs_it_when_the_file_is_opened(lines, waits):
    assert can_wait(lines, "torch") is waits


def test_the_libraries_of_all_stubs_can_wait():
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "exercises").glob("ex*.py"))]
    named = [(text, name) for text in texts for name in LATE if f"import {name}" in text]
    assert len(named) >= 3 and all(can_wait(text, name) for text, name in named)


def test_a_function_gets_its_library_before_its_time_begins(tmp_path):
    (tmp_path / "answers.py").write_text(ANSWERS, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "1", "True", "1", "False"], done.stdout + done.stderr


def test_checks_of_numpy_exercises_import_nothing_slow(tmp_path):
    for name in ("ex2_cross_encoder", "ex4_patching"):
        text = (ROOT / "tests" / "solutions" / f"{name}.py").read_text(encoding="utf-8")
        (tmp_path / f"{name}.py").write_text(f"{UNREAD}\n{text}", encoding="utf-8")
    command = [sys.executable, "-c", CHECK, str(tmp_path), *IN_NUMPY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["solved"] * len(IN_NUMPY) + ["[]"], done.stdout + done.stderr
