"""semanticbm: how a neural re-ranker computes a semantic BM25, in code small enough to read.

The modules stand in the order in which the book needs them: collection, bm25, cross_encoder, compiled, diagnostics,
patching, path_patching, matching, idf, scoring_heads, semantic_bm, evaluation, plots, explain, reproduce.
Names are imported on first use, so that `import semanticbm` is quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "UserError": "errors",
    "Collection": "collection",
    "load_collection": "collection",
    "BM25": "bm25",
    "CrossEncoder": "cross_encoder",
    "load": "ladder",
    "compile_bm25": "compiled",
    "compile_distracted": "planted",
    "direct_effects": "path_patching",
    "matching_scores": "matching",
    "u0": "idf",
    "check": "grading.notebook",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name == "grading":  # so that a chapter can write semanticbm.grading.exercise_table(5)
        return import_module("semanticbm.grading")
    if name in _HOMES:
        return getattr(import_module(f"semanticbm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'semanticbm' has no attribute {name!r}")
