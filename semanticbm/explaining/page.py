"""The page of an explanation: one file that works from disk, offline, by keyboard, on a phone, in light and dark.

The page is a table in plain HTML, and a small component (`component.html`) that draws the same data to play with: hover or
focus a query term to see where each matching head looks, slide over the layers, read both formulas with the pair's numbers.
The component is 150 lines without a library, because a page that is mailed around should not carry one.

Text of users is never markup: the table is escaped, the data is JSON in which every "<" is written as an escape, and the
component puts text in as text.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

COMPONENT = Path(__file__).with_name("component.html")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'"
)
STYLE = (
    ":root { color-scheme: light dark; } body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; "
    "padding: 1rem; } @media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e6e6; } }"
)
CUT = "The end of the document did not fit into the model."
COLUMNS = (
    "term",
    "weight w",
    "signal s",
    "share",
    "tf",
    "IDF",
    "TF factor",
    "BM25",
    "word taken out",
    "matches replaced",
)


def component() -> str:
    """Style and script of the component, to be put into a page once."""
    return COMPONENT.read_text(encoding="utf-8")


def compact(value) -> str:
    """JSON without the spaces: attention is thousands of short numbers."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def data_block(
    pairs: Sequence[dict], name: str, plain: str, titles: Sequence[str] | None = None, against: str | None = None
) -> str:
    """The section that the component fills, with its data, and `plain`: markup for readers without JavaScript.

    pairs: `Explanation.as_dict()` of each pair. `titles`: a choice among the pairs by these names. `against`: if it is a
    text, the first two pairs are compared, and it says why the comparison should not be trusted, or is "".
    """
    data = compact({"pairs": list(pairs), "titles": titles and list(titles), "against": against})
    safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (
        f'<section class="sx" data-explain="{html.escape(name)}" aria-label="the score, term by term">{plain}</section>\n'
        f'<script type="application/json" id="{html.escape(name)}">{safe}</script>\n'
    )


def table(pair: dict) -> str:
    """The terms of one pair as an HTML table, escaped."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in _row(term))}</tr>" for term in pair["terms"]
    )
    cut = f"<p>{CUT}</p>" if pair["truncated"] else ""
    texts = f"<p>{html.escape(pair['query'])}</p><p>{html.escape(pair['document'])}</p>{cut}"
    rows_of_head = f"<thead><tr>{head}</tr></thead>"
    table = f'<table class="sx-table">{rows_of_head}<tbody>{rows}</tbody></table>'
    return f'{texts}<div class="sx-scroll" tabindex="0">{table}</div>'


def _row(term: dict) -> list[str]:
    lexical = term["bm25"]
    numbers = (
        term["weight"],
        term["signal"],
        term["share"],
        lexical["tf"],
        lexical["idf"],
        lexical["factor"],
        lexical["score"],
    )
    return [term["term"], *(_number(value) for value in (*numbers, term["removal"], term["masked"]))]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def page(pairs: Sequence[dict], against: str | None = None, form: str = "") -> str:
    """A whole HTML page for explained pairs. `against`: see `data_block`. `form`: markup that stands above them."""
    title = html.escape(pairs[0]["query"] if pairs else "Explain a score")
    section = data_block(pairs, "explained", "".join(map(table, pairs)), against=against)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"<h1>Why this score?</h1>\n{form}{section}</main>\n"
        f"{component()}</body>\n</html>\n"
    )
