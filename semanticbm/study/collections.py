"""Collections by name, those of the study included.

`semanticbm.collection.load_collection` knows the classroom collection, folders in BEIR's layout and ir_datasets ids. The
study adds "paper": the 100 queries of the paper's own diagnostic data, each with 100 passages. It has no grades, so
nothing that needs a relevant document can be measured on it.
"""

from __future__ import annotations

from collections.abc import Callable

from semanticbm.collection import Collection, load_collection
from semanticbm.study.paper_data import paper_collection

STUDY_COLLECTIONS: dict[str, Callable[[], Collection]] = {"paper": paper_collection}


def load_study_collection(name: str = "classroom") -> Collection:
    """Load a collection of the study ("paper"), or whatever `load_collection` knows; errors as there."""
    return STUDY_COLLECTIONS[name]() if name in STUDY_COLLECTIONS else load_collection(name)
