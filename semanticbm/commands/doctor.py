"""`semanticbm doctor`: does everything that the book needs work here?

One line a check: OK, WARN or FAIL, what was found, and what to do. WARN means that the chapters run, but something is slow,
old or out of reach. Exit code 1 if anything failed, else 0. `--json` prints the same as data.

A check never ends the doctor: whatever it raises becomes its FAIL line. So the order is from the ground up, and the first
FAIL is the one to mend first.

When it misleads: it looks at this process. A notebook whose kernel started before an installation still has the old
packages in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

OK, WARN, FAIL = "OK", "WARN", "FAIL"
STYLES = {OK: "green", WARN: "yellow", FAIL: "red"}
GB = 1e9
PROBE_TOLERANCE = 0.001  # scores of one model on two CPUs differ by about 0.00001
PREVIEW_MODULES = ("nbclient", "nbformat", "ipykernel", "pypandoc", "mkdocs", "material", "yaml", "lxml", "tabulate")


@dataclass(frozen=True)
class Finding:
    """What a check found: status (OK, WARN, FAIL), the finding, what to do about it."""

    status: str
    found: str
    advice: str = ""


# --------------------------------------------------------------------------------------------------------------------
# Python and packages


def check_python() -> Finding:
    """The version of Python against the supported range."""
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), _supported_python()
    if not SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding(
            FAIL, f"Python {found}, supported is {wanted}", "install a newer Python and make a new environment"
        )
    return Finding(OK, f"{found} on {platform.system()} {platform.machine()}")


def _supported_python() -> str:
    try:
        return metadata("semanticbm")["Requires-Python"] or ">=3.11"
    except PackageNotFoundError:
        return ">=3.11"


def check_packages() -> Finding:
    """The versions of all required packages against the ranges of this installation."""
    try:
        wanted = requires("semanticbm") or []
    except PackageNotFoundError:
        return Finding(
            WARN, "semanticbm runs from a folder and is not installed", "make setup, or pip install --editable ."
        )
    problems, count = _package_problems(wanted)
    if problems:
        names = " ".join(f'"{name}"' for name in problems)
        return Finding(FAIL, "; ".join(problems.values()), f"make setup, or pip install {names}")
    return Finding(OK, f"{count} required packages, all in the supported range")


def _package_problems(wanted: list[str]) -> tuple[dict[str, str], int]:
    """{requirement: what is wrong with it} of the base requirements, and how many were looked at."""
    from packaging.requirements import Requirement

    problems, count = {}, 0
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        text = f"{requirement.name}{requirement.specifier}"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            problems[text] = f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            problems[text] = f"{requirement.name} {found} is outside {requirement.specifier}"
    return problems, count


def check_library() -> Finding:
    """Import every module of the library: a package that is there but broken shows here."""
    package = import_module("semanticbm")
    modules = [one.name for one in pkgutil.iter_modules(package.__path__) if one.name[0] != "_"]
    for name in modules:
        try:
            import_module(f"semanticbm.{name}")
        except ImportError as error:
            return Finding(
                FAIL, f"semanticbm.{name}: {error}", "make setup, or pip install --force-reinstall semanticbm"
            )
    return Finding(OK, f"semanticbm {package.__version__} in {Path(package.__file__).parent}")


def check_shadows() -> Finding:
    """Files of the current folder that hide a package from scripts and notebooks that start here."""
    loaded = Path(import_module("semanticbm").__file__).resolve().parent
    names = ("semanticbm", "torch", "numpy", "transformers", "nnsight", "random", "statistics", "tokenize")
    hiding = [f"{name}.py" for name in names if Path(f"{name}.py").is_file()]
    hiding += [f"{name}/" for name in names if Path(name, "__init__.py").is_file() and Path(name).resolve() != loaded]
    if hiding:
        return Finding(WARN, f"{', '.join(hiding)} in this folder hides a package of that name", "rename it")
    return Finding(OK, "nothing in this folder hides a package")


# --------------------------------------------------------------------------------------------------------------------
# The machine


def check_torch() -> Finding:
    """One second of matrix products on the device that `--device auto` picks; the result must be right."""
    import torch

    from semanticbm.ladder import pick_device

    device, size = pick_device("auto"), 512
    left, right = torch.rand(2, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    wanted = (left.double() @ right.double()).float()
    left, right = left.to(device), right.to(device)
    product, begin, rounds = (left @ right).cpu(), time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - begin < 1.0:
        product = (left @ right).cpu()
        rounds += 1
    if not torch.allclose(product, wanted, rtol=1e-3):
        return Finding(
            FAIL, f"a matrix product on {device} is wrong", "install torch again; until then use --device cpu"
        )
    speed = 2 * size**3 * rounds / (time.perf_counter() - begin) / 1e9
    found = f"{torch.__version__} on {device}, {speed:.0f} GFLOP/s"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return Finding(WARN, f"{found}; there is an NVIDIA driver, but torch sees no GPU", "install torch with CUDA")
    return Finding(OK, found)


def check_memory() -> Finding:
    """Free memory: the chapters need about 2 GB."""
    import psutil

    free = psutil.virtual_memory().available / GB
    status = OK if free >= 3 else WARN if free >= 1 else FAIL
    return Finding(
        status, f"{free:.1f} GB of memory free", "" if status == OK else "close other programs: 3 GB are needed"
    )


def check_disk() -> Finding:
    """Free space and the right to write in the current folder."""
    free = shutil.disk_usage(".").free / GB
    if not os.access(".", os.W_OK):
        return Finding(WARN, f"this folder cannot be written to ({free:.0f} GB free)", "reports need --out ELSEWHERE")
    status = OK if free >= 3 else WARN if free >= 0.2 else FAIL
    return Finding(status, f"{free:.0f} GB free on disk", "" if status == OK else "free some space: 3 GB are needed")


# --------------------------------------------------------------------------------------------------------------------
# Models


def check_nnsight() -> Finding:
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
        return Finding(FAIL, "nnsight ran but changed nothing", 'pip install "nnsight>=0.8.1,<0.9"')
    return Finding(OK, f"{version('nnsight')} changes a head of a BERT")


def check_hub() -> Finding:
    """The model hub: only minilm-l12 and other people's models need it."""
    from semanticbm.loading.checkpoints import hub_in_reach

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding(WARN, "HF_HUB_OFFLINE is set, so nothing is fetched", "unset it, if you want minilm-l12")
    if not hub_in_reach():
        return Finding(WARN, "out of reach", "use the models classroom and compiled, which need no network")
    return Finding(OK, "in reach: --model minilm-l12 can be fetched")


def check_backbone() -> Finding:
    """The backbone's files are there, and their SHA-256 is the known one."""
    from semanticbm.ladder import BACKBONE_SHA256, backbone_folder

    return Finding(OK, f"{backbone_folder()}, sha256 {BACKBONE_SHA256[:12]} as it should be")


def check_classroom() -> Finding:
    """The classroom model scores the pairs of its own card as the card says."""
    from semanticbm.ladder import classroom_folder, load

    again = "pip install --force-reinstall semanticbm"
    probe = json.loads((classroom_folder() / "semanticbm.json").read_text(encoding="utf-8")).get("probe")
    if not probe:
        return Finding(FAIL, "its card has no scores to compare with", again)
    scores = load("classroom", "cpu").score(probe["query"], probe["documents"])
    worst = max(abs(one - other) for one, other in zip(scores, probe["scores"], strict=True))
    if not worst <= PROBE_TOLERANCE:
        return Finding(
            FAIL, f"its scores differ from its card by {worst:.3g}", f"{again}; or look at torch and transformers"
        )
    return Finding(OK, f"scores as its card says, to {PROBE_TOLERANCE}")


def check_grading() -> Finding:
    """The process that answers for a student starts, and whether it is shut in."""
    from semanticbm.grading.sandbox import find_sandbox, start_problem

    sandbox = find_sandbox()
    if sandbox.locked:  # found means tried
        return Finding(OK, sandbox.first_line)
    if problem := start_problem(sandbox):
        return Finding(FAIL, f"the process that answers for a student does not start: {problem}", "make setup")
    return Finding(WARN, sandbox.first_line, "good for one's own answers; for a class install bubblewrap")


def check_book() -> Finding:
    """What would build the book: Quarto, else the preview's packages."""
    quarto = shutil.which("quarto")
    if quarto:
        return Finding(OK, f"Quarto builds it ({quarto})")
    missing = [name for name in PREVIEW_MODULES if find_spec(name) is None]
    if missing:
        return Finding(WARN, f"no Quarto, and the preview lacks {', '.join(missing)}", "pip install 'semanticbm[book]'")
    import pypandoc

    return Finding(OK, f"the preview builds it, with pandoc {pypandoc.get_pandoc_version()}")


# --------------------------------------------------------------------------------------------------------------------
# The command

CHECKS: dict[str, Callable[[], Finding]] = {
    "python": check_python,
    "packages": check_packages,
    "library": check_library,
    "folder": check_shadows,
    "torch": check_torch,
    "memory": check_memory,
    "disk": check_disk,
    "nnsight": check_nnsight,
    "backbone": check_backbone,
    "classroom model": check_classroom,
    "model hub": check_hub,
    "grading": check_grading,
    "book": check_book,
}


def examine(check: Callable[[], Finding]) -> Finding:
    """Run one check; anything that it raises becomes a FAIL."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return check()
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        return Finding(FAIL, f"{error.name} is missing", "make setup, or pip install semanticbm again")
    except BaseException as error:  # also what compiled code raises past Exception
        reason = " ".join(str(error).split())[:300]
        kind = "" if type(error).__name__ == "UserError" else f"{type(error).__name__}: "
        return Finding(FAIL, f"{kind}{reason}" or type(error).__name__, "" if not kind else "mend the first FAIL first")


def run_checks(as_json: bool = False) -> int:
    """Run every check and print a line for each, or all as JSON; 0 if none failed, else 1."""
    console, findings = Console(highlight=False, soft_wrap=True), {}
    for name, check in CHECKS.items():
        findings[name] = finding = examine(check)
        if not as_json:
            advice = f" -> {finding.advice}" if finding.advice else ""
            console.print(f"{finding.status:4}", style=STYLES[finding.status], end=" ")
            console.print(f"{name}: {finding.found}{advice}", markup=False)
    failed = [name for name, finding in findings.items() if finding.status == FAIL]
    if as_json:
        rows = [{"name": name, **asdict(finding)} for name, finding in findings.items()]
        print(json.dumps({"works": not failed, "checks": rows}, indent=1))
    else:
        console.print("everything works." if not failed else f"does not work: {', '.join(failed)}.")
    return 1 if failed else 0
