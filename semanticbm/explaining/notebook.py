"""A text field in a notebook, with a model behind it: `form()` in Colab or Jupyter.

It is the page of `semanticbm explain --serve` without a server: type a query and a document, choose a model, press, and the
explanation stands below, the same component as in the book. The fields are ipywidgets, which Colab has; elsewhere they are an
extra (`pip install "semanticbm[serve]"`). Limits and messages are those of the served page.

The explanation is a page inside a frame of its own. It may run its script and nothing else: what somebody types cannot reach
the notebook. The kernel answers one question at a time; until it has, the button cannot be pressed.
"""

from __future__ import annotations

import html

from semanticbm.errors import UserError
from semanticbm.explaining.explanation import explain
from semanticbm.explaining.page import page
from semanticbm.explaining.serve import AT_WORK, MOST_CHARACTERS, answers, checked, choices

INSTALL = 'the text field needs ipywidgets: pip install "semanticbm[serve]", and start the notebook again.'
FRAME_STYLE = "width: 100%; height: 46rem; border: 1px solid #8886"


def form(model: str = "classroom", device: str = "auto"):
    """Fields for query, document and model, a button, and below them the explanation: an ipywidgets box to display.

    `model`: a model of the ladder, a folder or a hub id, the first of the choices. Raises `UserError` without ipywidgets.
    """
    try:
        from ipywidgets import HTML, Button, Dropdown, Text, Textarea, VBox
    except ModuleNotFoundError:
        raise UserError(INSTALL) from None
    wide, models, answer = {"width": "100%"}, choices(model), answers(explain, device)
    fields = {
        "query": Text(description="Query", placeholder=_most("query"), layout=wide),
        "document": Textarea(description="Document", placeholder=_most("document"), rows=5, layout=wide),
        "model": Dropdown(description="Model", options=models),
    }
    button, said, shown = Button(description="Explain"), HTML(), HTML()

    def explained(_):
        button.disabled, said.value = True, _line(AT_WORK)
        try:
            found = answer(*checked({name: field.value for name, field in fields.items()}, models))
            said.value, shown.value = "", frame([found])
        except UserError as error:
            said.value = _line(str(error))
        finally:
            button.disabled = False

    button.on_click(explained)
    return VBox([*fields.values(), button, said, shown])


def _most(name: str) -> str:
    return f"up to {MOST_CHARACTERS[name]} characters"


def _line(text: str) -> str:
    return f'<p role="status">{html.escape(text)}</p>'


def frame(pairs: list[dict]) -> str:
    """The page of explained pairs as markup to stand in another page, cut off from it."""
    inside = html.escape(page(pairs))
    return f'<iframe title="Why this score?" sandbox="allow-scripts" style="{FRAME_STYLE}" srcdoc="{inside}"></iframe>'
