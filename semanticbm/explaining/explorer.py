"""The explorer of the book: the prepared pairs of `stories`, explained by the classroom model, in one widget.

`python -m semanticbm.explaining.explorer` computes the numbers (`explorer.json`, part of the package) and writes the widget,
`book/widgets/explorer.html`, so that the book needs no model to show them; a test computes some of them again. Without
JavaScript it is a table.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from semanticbm.explaining.explanation import explain
from semanticbm.explaining.page import compact, component, data_block
from semanticbm.explaining.stories import STORIES, Story
from semanticbm.ladder import load
from semanticbm.loading.files import write_text

PAIRS = Path(__file__).with_name("explorer.json")
FILE = Path("book/widgets/explorer.html")
NAME = "sx-explorer"
PLACES = 3  # decimal places in the file: more than the page shows


def explained(stories: Sequence[Story]) -> list[dict]:
    """The stories' pairs as data, by the classroom model, rounded."""
    from tqdm.auto import tqdm

    model = load("classroom", "cpu")
    return [rounded(explain(model, story.query, story.document).as_dict()) for story in tqdm(stories, desc="explorer")]


def rounded(value):
    """Numbers of nested data to `PLACES` decimal places; attention to two, for it is only drawn."""
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, dict):
        return {name: _attention(one) if name == "attention" else rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def _attention(rows: Iterable[Iterable[float]]) -> list[list[float]]:
    return [[round(value, 2) for value in row] for row in rows]


def fragment(stories: Sequence[Story], pairs: Sequence[dict]) -> str:
    """The widget: data, component, and a table for readers without JavaScript."""
    titles = [f"{number}. {story.title}: {story.look_for}" for number, story in enumerate(stories, 1)]
    return data_block(pairs, NAME, overview(stories, pairs), titles) + component()


def overview(stories: Sequence[Story], pairs: Sequence[dict]) -> str:
    """All pairs as one HTML table: story, texts, score, shares."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("story", "query", "document", "score", "shares"))
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in table_rows(stories, pairs)
    )
    return f'<table class="sx-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def table_rows(stories: Sequence[Story], pairs: Sequence[dict]) -> list[tuple[str, ...]]:
    """(story, query, document, score, shares) of each pair as text."""
    return [
        (
            story.title,
            story.query,
            story.document,
            f"{pair['score']:.2f}",
            ", ".join(f"{term['term']} {term['share']:+.2f}" for term in pair["terms"]),
        )
        for story, pair in zip(stories, pairs, strict=True)
    ]


def stored_pairs() -> list[dict]:
    """The pairs of `explorer.json`."""
    return json.loads(PAIRS.read_text(encoding="utf-8"))


def main() -> None:
    """Compute the pairs, and write them and the widget."""
    pairs = explained(STORIES)
    write_text(PAIRS, compact(pairs) + "\n")
    write_text(FILE, fragment(STORIES, pairs))
    print(f"wrote {PAIRS} and {FILE}")


if __name__ == "__main__":
    main()
