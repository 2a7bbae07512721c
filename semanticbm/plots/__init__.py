"""Figures: one style, and one small function for each kind of figure in the book.

A figure in this book answers one question. So each function here draws one kind of picture, takes plain arrays, labels
both axes, and returns its matplotlib `Axes`, so that a chapter can add a line or a note.

Choices made once, here:

- Colours come from Okabe and Ito's palette, which people with the common kinds of colour blindness can tell apart.
  Line styles and markers change together with the colour, so the figures also work in black and white.
- Backgrounds are transparent. The book inverts the lightness of figures in its dark mode (and turns the hue back), so
  the same file reads on white paper and on a dark screen.
- Signed values get a diverging scale whose middle is 0; other values get a scale that starts at the smallest value.

When figures mislead: a heat map stretches its colours to the largest cell, so a picture of noise looks as rich as a
picture of a finding. Read the numbers on the colour bar first. `bars_with_intervals` therefore always draws intervals.

Shapes: layer, head, position as everywhere in the library.
"""

from semanticbm.plots.charts import bars_with_intervals, curves, scatter, shares
from semanticbm.plots.diagrams import circuit, flow
from semanticbm.plots.look import BLUE, DASHES, FAINT, INK, MARKERS, ORANGE, new_axes, style
from semanticbm.plots.maps import attention_map, heads_heatmap, token_layer_map

__all__ = [
    "attention_map",
    "bars_with_intervals",
    "circuit",
    "curves",
    "flow",
    "heads_heatmap",
    "new_axes",
    "scatter",
    "shares",
    "style",
    "token_layer_map",
    "BLUE",
    "DASHES",
    "FAINT",
    "INK",
    "MARKERS",
    "ORANGE",
]
