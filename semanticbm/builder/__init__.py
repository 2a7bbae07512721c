"""The project's own builder for the book, for machines without Quarto.

The chapters are Quarto markdown, and `quarto render` builds them wherever Quarto can be installed. Everywhere else this
package builds the same sources. It is glue between programs that do the real work:

- `project` reads _quarto.yml, the one list of chapters for both builders;
- pandoc reads the markdown and writes the HTML (`pandoc`), with citations and MathML;
- nbclient runs the code cells in a Jupyter kernel (`execute`, `kernel`), with a cache keyed by content;
- `crossref` numbers chapters, sections, figures, tables and equations and resolves references to them;
- `render` puts outputs where the cells were; mkdocs-material puts navigation, search and themes around it (`site`);
- `check` refuses what only one of the two builders would understand, `traps` what pandoc would misread;
- `offline` looks at the pages that either builder wrote: they load nothing from elsewhere;
- `paper` makes the EPUB and the PDF, `serve` shows the pages on this machine.

When it misleads: a page that looks right here may still differ from Quarto's in spacing and colours. Content, numbers
and links are the same, because both builders read one source and the subset they share is checked.
"""
