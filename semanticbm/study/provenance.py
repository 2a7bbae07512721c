"""Where numbers come from: the model, the texts, the code and the package versions that made them.

A run's *fingerprint* holds whatever could change a number: hashes of weights, texts and code, the versions of the packages
that compute, seed and size. Each part of a run carries it, and a part is taken up again only by a run with the same one. The
code's hash is taken over what the program does: comments, docstrings and layout do not count, nor do the two lines that
have arguments checked, which can refuse a call and change no number.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from semanticbm import __version__
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.study.study import Study

PACKAGES = ("torch", "transformers", "nnsight", "numpy", "scipy", "scikit-learn", "ir-measures", "tokenizers")
PACKAGE_FOLDER = Path(__file__).parents[1]
MEASURING_CODE = ("*.py", "study/*.py", "study/experiments/*.py")
NOT_MEASURING = {
    *("__main__.py", "display.py", "errors.py", "files.py"),
    *(
        "claims.py",
        "figures.py",
        "folder.py",
        "paper_model.py",
        "processes.py",
        "provenance.py",
        "report.py",
        "reproduce.py",
        "results.py",
        "sealed.py",
    ),
}


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute numbers."""
    return {name: version(name) for name in PACKAGES}


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine, for the report."""
    return {
        "semanticbm": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": str(device),
        "threads": str(torch.get_num_threads()),
        **package_versions(),
    }


def code_hash(folder: Path = PACKAGE_FOLDER) -> str:
    """SHA-256 of the code that measures, without docstrings, comments, layout and the checks of arguments."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MEASURING_CODE for path in folder.glob(pattern)):
        if path.name not in NOT_MEASURING:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(_what_it_does(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def _what_it_does(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if "check_package" not in ast.unparse(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def weights_hash(model: CrossEncoder) -> str:
    """SHA-256 of the weights as they are, for a model that came from no file, such as a compiled one."""
    digest = hashlib.sha256()
    for name, value in sorted(model.hf.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def fingerprint(study: Study) -> dict:
    """What makes a run this run; a folder holds only one."""
    collection = study.collection
    texts = json.dumps([collection.documents, collection.queries, collection.judgements], sort_keys=True)
    return {
        "model": study.model.name,
        "weights_sha256": study.model.source or weights_hash(study.model),
        "collection": collection.name,
        "collection_sha256": hashlib.sha256(texts.encode()).hexdigest(),
        "synonyms_sha256": hashlib.sha256(json.dumps(collection.synonyms, sort_keys=True).encode()).hexdigest(),
        "quick": study.quick,
        "seed": study.seed,
        "code_sha256": code_hash(),
        "packages": package_versions(),
    }
