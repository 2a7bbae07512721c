"""`semanticbm explain --serve`: a page with a text field, and a model behind it, on this machine alone.

For a class that wants to type its own query and document. Flask answers the page's questions: it is small, well kept, and its
requests are plain functions. It is an extra (`pip install "semanticbm[serve]"`), since nothing else of the project serves.

The server listens on 127.0.0.1 and answers only requests that name this address, so that no page on the network can reach
the model through the browser. One request is worked on at a time: a second one is told so at once. A model is loaded when it
is first asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.explaining.page import page
from semanticbm.ladder import LADDER, load

HOST = "127.0.0.1"
MOST_CHARACTERS = {"query": 1_000, "document": 10_000}
MOST_BYTES = 100_000
AT_WORK = "The model is at work; the first time it is loaded, which takes a few seconds."
INSTALL = 'the page needs Flask: pip install "semanticbm[serve]".'


def application(answer: Callable[[str, str, str], dict], models: list[str]):
    """The Flask application. `answer`: (model, query, document) -> `Explanation.as_dict()`; `models`: what may be chosen.

    Raises `UserError` without Flask.
    """
    try:
        from flask import Flask, abort, jsonify, request
    except ModuleNotFoundError:
        raise UserError(INSTALL) from None
    app, at_work = Flask("semanticbm"), threading.Lock()
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES

    @app.before_request
    def only_this_machine():
        if request.host.partition(":")[0] not in (HOST, "localhost"):
            abort(403)

    @app.get("/")
    def first_page():
        return page([], form=Path(__file__).with_name("form.html").read_text(encoding="utf-8"))

    @app.get("/models")
    def names():
        return jsonify(models)

    @app.post("/explain")
    def explained():
        asked = request.get_json(silent=True)
        if not at_work.acquire(blocking=False):
            return jsonify(error="The model works on another question: try again in a moment."), 503
        try:
            return jsonify(answer(*checked(asked, models)))
        except UserError as error:
            return jsonify(error=str(error)), 400
        finally:
            at_work.release()

    return app


def checked(asked: object, models: list[str]) -> tuple[str, str, str]:
    """(model, query, document) of a question; `UserError` for anything else."""
    if not isinstance(asked, dict) or not all(
        isinstance(asked.get(name), str) for name in ("model", "query", "document")
    ):
        raise UserError("a question has three texts: model, query and document.")
    for name, most in MOST_CHARACTERS.items():
        if len(asked[name]) > most:
            raise UserError(f"the {name} has {len(asked[name])} characters: {most} is the most.")
    if asked["model"] not in models:
        raise UserError(f"there is no model {asked['model']!r} here: {', '.join(models)}.")
    return asked["model"], asked["query"], asked["document"]


def choices(model: str) -> list[str]:
    """The models that may be chosen: the one that was asked for, then the others of the ladder."""
    return list(dict.fromkeys([model, *LADDER]))


def answers(
    explain: Callable[[CrossEncoder, str, str], object], device: str = "auto"
) -> Callable[[str, str, str], dict]:
    """The function behind the page: loads each model once and explains with it."""
    loaded = cache(load)

    def answer(model: str, query: str, document: str) -> dict:
        return explain(loaded(model, device), query, document).as_dict()

    return answer


def server_of(app, port: int = 0):
    """A server of `app` on this machine alone, at `port` or a free one; `.port` says which, `.serve_forever()` runs it."""
    from werkzeug.serving import make_server

    return make_server(HOST, port, app, threaded=True)
