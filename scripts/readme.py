"""Write the computed parts of README.md again: `python scripts/readme.py`. A test compares them with what it would write.

Each part stands between two marks, `<!-- NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np

from semanticbm.bm25 import tf_factor
from semanticbm.compiled import match_logits
from semanticbm.grading.notebook import check
from semanticbm.study.results import load_results, results_folder
from semanticbm.study.sealed import read_sealed

README = Path(__file__).resolve().parents[1] / "README.md"
K1, B, AVGDL = 1.2, 0.75, 50.0
DOCUMENTS = ((1, 20), (1, 50), (3, 50), (3, 200))  # copies of the query word, words in the document


def table(header: str, rows: list[tuple]) -> str:
    """A markdown table from "a | b" and rows of text."""
    lines = [f"| {header} |", "|" + "---|" * (header.count("|") + 1)]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def softmax_share(copies: int, length: int, beta: float, sink: float) -> float:
    """The attention on the copies of a word: logit beta on each, 0 on the other words, `sink` on [CLS]."""
    weights = np.exp([beta] * copies + [0.0] * (length - copies) + [sink])
    return float(weights[:copies].sum() / weights.sum())


def equality() -> str:
    """BM25's term-frequency factor beside the attention of a head with the right logits."""
    logits = match_logits(K1, B, AVGDL)
    rows = []
    for copies, length in DOCUMENTS:
        attention = logits.gain * softmax_share(copies, length, logits.beta, logits.sink)
        rows.append((copies, length, f"{tf_factor(copies, length, AVGDL, K1, B):.6f}", f"{attention:.6f}"))
    return table("copies of the word | words in the document | BM25's factor | softmax attention, scaled", rows)


def readings() -> str:
    """The k1 and b that were read off heads, compiled and trained, with 95 % intervals."""
    rows = []
    for model in ("compiled", "classroom"):
        for row in load_results(model).parts["effective_bm25"]["table"]:
            k1, b = ("{:.2f} ({:.2f} to {:.2f})".format(*row[name]) for name in ("k1", "b"))
            rows.append((f"{model} {row['head']}", k1, b, f"{row['r2']:.2f}", f"{row['r2_words']:.2f}"))
    return table("head | k1 | b | R2 | R2, if each word may have its own k1", rows)


READINGS = {
    "BM25, tuned": ("lexical", "BM25, tuned"),
    "the backbone's cosine": ("lexical", "backbone's cosine"),
    "SemanticBM: where heads look, IDF from U0 (fitted)": ("matching", "U0"),
    "the same with the term weight that the model uses (fitted)": ("matching", "w, the model's own term weight"),
    "what matching and relay heads write (nothing fitted)": ("written", "written by matching heads and relays"),
    "match signals times term weight (nothing fitted)": ("written", "match signals times w"),
}


def written() -> str:
    """What predicts the score inside a query: readings with 95 % intervals, and the controls that decide."""
    part = load_results("classroom").parts["written"]
    controls, interval = part["controls"], "{median:.3f} ({low:.3f} to {high:.3f})"
    rows = [(name, interval.format(**part[kind][key])) for name, (kind, key) in READINGS.items()]
    idle = max(
        row[kind]["median"] for row in controls["untrained"].values() for kind in ("own slopes", "fixed direction")
    )
    rows += [
        ("control: as many other heads of the same layers", _draws(controls["random heads of the same layers"])),
        ("control: random directions, times w", _draws(controls["random directions before the last layer"])),
        ("control: the same heads in a network that learned nothing", f"{idle:.3f}"),
    ]
    return table("reading | r with the score", rows + _fresh(interval))


def _fresh(interval: str) -> list[tuple]:
    """The same on collections on which nothing was chosen; last, two other training seeds of the model."""
    shipped, *others = (read_sealed(results_folder() / f"fresh-seed{seed}.json")["sets"] for seed in (1, 0, 2))
    rows = []
    for name, part in shipped.items():
        own, *theirs = (one[name]["written"]["written by matching heads and relays"] for one in (shipped, *others))
        seeds = ", ".join(f"{one['median']:.3f}" for one in theirs)
        rows.append(
            (
                f"{name}, where nothing was chosen: what the same heads write",
                f"{interval.format(**own)}; other training seeds {seeds}",
            )
        )
        rows.append((f"{name}: the backbone's cosine", interval.format(**part["lexical"]["backbone's cosine"])))
    return rows


def _draws(row: dict) -> str:
    return f"median draw {row['median']:.3f}, best {row['best']:.3f}" if row["draws"] else "no draw"


def idf(n_documents, document_frequency):
    """A usual mistake: the logarithm to base 2."""
    return np.log2(1 + (n_documents - document_frequency + 0.5) / (document_frequency + 0.5))


def feedback() -> str:
    """What a reader sees after a usual mistake."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        check(idf)
    return "\n".join(f"    {line}" for line in said.getvalue().strip().splitlines())


PARTS = {"equality": equality, "written": written, "readings": readings, "feedback": feedback}


def renewed(text: str) -> str:
    """The README with every computed part made again."""
    for name, make in PARTS.items():
        part = f"<!-- {name} -->\n\n{make()}\n\n<!-- end -->"
        text, count = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, part=part: part, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md has {count} places for {name}, one is needed")
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
