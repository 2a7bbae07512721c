"""`semanticbm doctor`: does everything that the book needs work here?

It prints one line a check: what was looked at, what was found, and what to do if that is not enough. Exit code 0 if the
chapters can run, else 1. A missing GPU or model hub is a note, not a fault.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from semanticbm.errors import UserError

PACKAGES = ("torch", "transformers", "nnsight", "peft", "rank-bm25", "bm25s", "scikit-learn", "seaborn", "ir-measures")


def _python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 (this is the place that tells the user)
        raise UserError(f"Python {platform.python_version()} is too old: install 3.11 or newer.")
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> str:
    try:
        return ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    except PackageNotFoundError as error:
        raise UserError(f"{error.name} is missing: run `make setup`, or pip install semanticbm again.") from None


def _nnsight() -> str:
    """One intervention on a tiny random BERT: sets z of a head to zero and reads a changed score."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from semanticbm.bert import layers, z_projection
    from semanticbm.cross_encoder import CrossEncoder

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=1
    )
    model = CrossEncoder(BertForSequenceClassification(config), None, "tiny")
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    with torch.no_grad(), model.traced.trace(**inputs):
        z_projection(layers(model.traced)[0]).input[:] = 0
        changed = model.traced.output.logits.save()
    if torch.equal(changed, model.hf(**inputs).logits):
        raise UserError("nnsight ran but changed nothing: install nnsight>=0.8.1,<0.9.")
    return "nnsight can change a head of a BERT"


def _classroom() -> str:
    from semanticbm.ladder import load

    started = time.time()
    good, bad = load("classroom", "cpu").score(
        "how do dogs bark", ["Dogs bark to warn others.", "The bark of a tree protects it."]
    )
    if good <= bad:
        raise UserError(
            "the classroom model prefers the wrong document: its files may be damaged; reinstall semanticbm."
        )
    return f"classroom model loads and ranks ({time.time() - started:.1f} s)"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "no GPU: everything runs on the CPU, only slower"
    return f"GPU: {torch.cuda.get_device_name(0)}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"


def _hub() -> str:
    from semanticbm.ladder import hub_in_reach

    return (
        "model hub in reach: --model minilm-l12 can be fetched"
        if hub_in_reach()
        else "model hub out of reach: use the classroom and compiled models, which need no network"
    )


CHECKS: tuple[Callable[[], str], ...] = (_python, _packages, _nnsight, _classroom, _gpu, _hub)


def run_checks() -> int:
    """Run every check and print a line for each; 0 if all passed."""
    console, failed = Console(highlight=False, soft_wrap=True), 0
    for check in CHECKS:
        try:
            console.print(f"[green]ok  [/green] {check()}")
        except UserError as error:
            failed += 1
            console.print(f"[red]FAIL[/red] {error}")
    console.print("everything works." if not failed else f"{failed} of {len(CHECKS)} checks failed.")
    return 1 if failed else 0
