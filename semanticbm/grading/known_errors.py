"""Errors of a trace that say little to a beginner, and what to do about each.

nnsight runs the lines of a traced block itself, beside the model. So a name that was set there and not saved is unknown
after the block, and a module that is touched too late cannot be had any more. Python's own words for that do not speak
of a trace. When it misleads: a name may be unknown for an ordinary reason, too; the hint comes after the error itself.
"""

from __future__ import annotations

import re

TRACED = "<NNsight>"  # how a call shows the argument `traced`
KNOWN = (
    (
        r"(?:UnboundLocalError|NameError): .*?'(\w+)'",
        "Was {0} set inside a trace? Only what is saved is there after the block: end the line with `.save()`; "
        "for a list begin with `{0} = nnsight.save([])`.",
    ),
    (
        r"'NoneType' object",
        "Something is still None after a trace: only what is saved is there after the block. End its line with `.save()`.",
    ),
    (
        r"OutOfOrderError",
        "The order is wrong: inside a block touch the modules as the model runs them, layer 0 first and the logits last.",
    ),
    (
        r"outside of interleaving",
        "A module's `.input` and `.output` exist only inside a block `with ... traced.trace(**inputs):`.",
    ),
    (r"'return' outside function", "A traced block is run by nnsight: `return` stands after it, not inside."),
    (
        r"'Tensor' object has no attribute 'value'",
        "What was saved is a plain tensor after the block: leave out `.value`.",
    ),
)
NOTHING_SAVED = (
    "The function returned nothing: does each path end in `return`, "
    "and is what it returns saved in the trace (`.save()`)?"
)


def explained(error: str) -> str | None:
    """What to do about an error, if it is one of those above in a call with a traced model; else None."""
    if TRACED not in error:
        return None
    for pattern, advice in KNOWN:
        found = re.search(pattern, error)
        if found:
            return advice.format(*found.groups())
    return None
