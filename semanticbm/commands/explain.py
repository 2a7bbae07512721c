"""`semanticbm explain`: one score, term by term, as text, JSON, a page, or a page with a text field."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tabulate import tabulate

from semanticbm.cross_encoder import check_pairs
from semanticbm.errors import UserError
from semanticbm.explaining.explanation import Difference, Explanation, compare, explain
from semanticbm.ladder import load
from semanticbm.loading.files import write_text
from semanticbm.study.sealed import plain

DECIMALS = 3


def explain_command(
    query: str, document: str, against: str | None, model: str, device: str, html_file: Path | None, as_json: bool
) -> None:
    """Explain a score, or with `against` a difference of two; write the page, print JSON or text."""
    check_pairs((query, text) for text in (document, against) if text is not None)
    if html_file is not None:
        check_place(html_file)
    loaded = load(model, device)
    found = explain(loaded, query, document) if against is None else compare(loaded, query, document, against)
    if html_file is not None:
        from semanticbm.explaining.page import page

        sides, doubt = ([found], None) if against is None else ([found.first, found.second], found.doubt)
        write_text(html_file, page([plain(side.as_dict()) for side in sides], against=doubt))
    print(json.dumps(plain(found.as_dict()), ensure_ascii=False) if as_json else as_text(found))


def check_place(file: Path) -> None:
    """`UserError` before any work is done if the page cannot be written to `file`."""
    if file.is_dir():
        raise UserError(f"{file} is a folder: name a file, such as {file / 'explained.html'}.")
    if not file.parent.is_dir():
        raise UserError(f"there is no folder {file.parent}: make it first, or name a file elsewhere.")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"nothing can be written to {file.parent}: name a file elsewhere.")


def as_text(found: Explanation | Difference) -> str:
    """What the command prints: doubt first, the sum, a row for each term."""
    table = found.table()
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return f"{found.summary()}\n\n{tabulate(rows, headers=list(table.columns), disable_numparse=True)}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}"  # + 0.0: no "-0.000"
    return "-" if value is None else str(value)


def serve_command(model: str, device: str) -> None:
    """Serve the page with a text field on this machine alone, until Ctrl-C."""
    from semanticbm.explaining.serve import HOST, answers, application, choices, server_of

    server = server_of(application(answers(explain, device), choices(model)))
    print(f"explain: http://{HOST}:{server.port}/  (stop with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("explain: stopped serving", flush=True)
