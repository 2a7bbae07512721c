"""semanticbm: how a neural re-ranker computes a semantic BM25, in code small enough to read.

The modules at the top are what the book teaches, one idea each, in the order of its chapters:

1. collection, bm25, evaluation; 2. bert, cross_encoder, ladder, retrieval; 3. compiled, head_as_bm25;
4. patching, path_patching, one_pass; 5. heads, attention, diagnostics, matching; 6. idf; 7. scoring_heads;
8. semantic_bm, ablation; 9. written.

What only runs the book lives in rooms beside them: plots, loading, study, classroom_model, explaining, grading,
builder, scale, commands. Names are imported on first use, so that `import semanticbm` is quick. Each public function of these
modules checks its arguments against its signature, see `semanticbm.loading.arguments`.
"""

from importlib import import_module

from semanticbm.loading.arguments import check_package

__version__ = "0.1.0"

_HOMES = {
    "UserError": "errors",
    "Collection": "collection",
    "load_collection": "collection",
    "BM25": "bm25",
    "CrossEncoder": "cross_encoder",
    "load": "ladder",
    "compile_bm25": "compiled",
    "plant_circuit": "study.planted",
    "direct_effects": "path_patching",
    "matching_scores": "matching",
    "u0": "idf",
    "explain": "explaining.explanation",
    "check": "grading.notebook",
}
__all__ = sorted(_HOMES)
check_package(__name__)


def __getattr__(name: str):
    if name == "grading":  # so that a chapter can write semanticbm.grading.exercise_table(5)
        return import_module("semanticbm.grading")
    if name in _HOMES:
        return getattr(import_module(f"semanticbm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'semanticbm' has no attribute {name!r}")
