"""The command line: `semanticbm COMMAND`. Each command is a thin layer over one function of the library.

Errors that a user can mend end with one line on stderr and exit code 2; nothing half-written stays behind.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from semanticbm.errors import DataWarning, TruncationWarning, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="How a neural re-ranker computes a semantic BM25: the library behind the book.",
)

Model = Annotated[str, typer.Option("--model", help="compiled, classroom, minilm-l12, random, a folder, or a hub id")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps")]
MOST_SEED = 2**32 - 1  # what numpy, torch and scikit-learn all take


@app.command(epilog="Example: `semanticbm doctor`")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False) -> None:
    """Check this installation, a line each: OK, WARN or FAIL, and what to do. Exit code 1 if anything fails."""
    from semanticbm.commands.doctor import run_checks

    raise typer.Exit(run_checks(as_json))


@app.command(epilog='Example: `semanticbm score "river bank" "The bank of the stream is steep." "Banks lend money."`')
def score(
    query: Annotated[str, typer.Argument(help="the query")],
    documents: Annotated[list[str], typer.Argument(metavar="DOC...", help="one or more documents")],
    model: Model = "classroom",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list")] = False,
) -> None:
    """Score documents for a query: one line a document, score and document separated by a tab."""
    from semanticbm.cross_encoder import check_pairs
    from semanticbm.ladder import load

    check_pairs((query, document) for document in documents)
    for document in filter(os.path.isfile, documents):
        print(
            f"semanticbm: warning: {document} is a file; what is scored is its name, not what is in it.",
            file=sys.stderr,
        )
    scores = load(model, device).score(query, documents)
    if as_json:
        print(
            json.dumps(
                [
                    {"score": float(value), "document": document}
                    for value, document in zip(scores, documents, strict=True)
                ],
                ensure_ascii=False,
            )
        )
        return
    for value, document in zip(scores, documents, strict=True):
        print(f"{value:.4f}\t{' '.join(document.split())}")


@app.command(epilog='Example: `semanticbm explain "river bank" "The bank of the stream is steep." --html why.html`')
def explain(
    query: Annotated[str | None, typer.Argument(help="the query")] = None,
    document: Annotated[str | None, typer.Argument(metavar="DOC", help="the document")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="DOC2", help="explain the difference to this document's score")
    ] = None,
    model: Model = "classroom",
    html_file: Annotated[Path | None, typer.Option("--html", help="also write a page to play with")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="a page with a text field, on this machine alone")] = False,
    device: Device = "auto",
) -> None:
    """Say why a document got its score: what each query term brought in, and whether to believe it."""
    from semanticbm.commands.explain import explain_command, serve_command

    if serve:
        if query or against or html_file or as_json:
            raise UserError("--serve takes no texts and writes no file: type both texts into the page that it opens.")
        return serve_command(model, device)
    if query is None or document is None:
        raise UserError('explain needs a query and a document, each in quotes: semanticbm explain "QUERY" "DOC".')
    explain_command(query, document, against, model, device, html_file, as_json)


@app.command(epilog="Example: `semanticbm scale score pairs.parquet scores`")
def scale(
    measurement: Annotated[str, typer.Argument(help="score, features or effects")],
    source: Annotated[Path, typer.Argument(metavar="IN.parquet", help="query_id, query, document_id, document")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the measured and the rejected rows")],
    model: Model = "classroom",
    device: Device = "auto",
    address: Annotated[
        str, typer.Option(help="a Ray cluster, such as ray://host:10001; this machine if left out")
    ] = "",
    workers: Annotated[int, typer.Option(min=0, help="processes (0: one a GPU, or one a core)")] = 0,
) -> None:
    """Measure millions of pairs on Ray, part by part. Call again to resume."""
    try:
        from semanticbm.scale import parts
    except ModuleNotFoundError as error:
        raise UserError(f"this needs {error.name}: pip install 'semanticbm[scale]'.") from None
    job = parts.plan(measurement, source, model)
    parts.connect(address)
    counts = parts.run(job, out, model, device, workers)
    print(f"{counts['measured']:,} rows in {out / 'measured'}, {counts['rejects']:,} rejected in {out / 'rejects'}")


@app.command(epilog="Example: `semanticbm reproduce --quick --out report`")
def reproduce(
    model: Model = "classroom",
    collection: Annotated[
        str, typer.Option(help="classroom, paper, a folder in BEIR's layout, an ir_datasets id")
    ] = "classroom",
    out: Annotated[Path, typer.Option(help="folder for report.json, report.md and figures")] = Path("report"),
    quick: Annotated[bool, typer.Option("--quick", help="few queries: ends within 3 minutes on 2 cores")] = False,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="seed of every random choice")] = 0,
    jobs: Annotated[
        int, typer.Option(min=0, help="processes (0: up to 4 by the cores, 1 on a GPU); each takes up to 1.6 GB")
    ] = 0,
) -> None:
    """Run every experiment of the paper on a model and print the claims table. Call again to resume."""
    from semanticbm.study.reproduce import reproduce as run

    run(model, collection, out, quick=quick, device=device, seed=seed, jobs=jobs)


@app.command(epilog="Example: `semanticbm book --preview`")
def book(
    preview: Annotated[bool, typer.Option("--preview", help="build with the project's own preview")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="only check the sources, or the pages of a built book in FOLDER")
    ] = False,
    folder: Annotated[Path | None, typer.Argument(help="with --check: a built book, such as _book")] = None,
    epub: Annotated[bool, typer.Option("--epub", help="make an EPUB, _book/semanticbm.epub")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="make a PDF, _book/semanticbm.pdf")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="serve the built book on this machine alone")] = False,
) -> None:
    """Build the book into _book/index.html: with Quarto where it is there, else with the preview."""
    from semanticbm.builder.commands import book_command

    formats = [name for name, wanted in (("epub", epub), ("pdf", pdf)) if wanted]
    raise typer.Exit(book_command(preview, check, folder, formats, serve))


@app.command(epilog="Example: `semanticbm init my-exercises`")
def init(
    folder: Annotated[Path, typer.Argument(help="where the exercise files go; it is made if it is not there")],
    update: Annotated[
        bool, typer.Option("--update", help="bring new exercises into files that are there; keeps what you wrote")
    ] = False,
    classroom: Annotated[
        bool, typer.Option("--classroom", help="a template repository for GitHub Classroom around the exercises")
    ] = False,
) -> None:
    """A fresh set of exercises in a folder of your own. No file that is there is written over."""
    from semanticbm.commands.init import init_command

    init_command(folder, update, classroom)


def _exercises() -> Path:
    """The folder of exercises when none is named: `exercises`, or the current folder, as `init` fills it."""
    return Path("exercises") if Path("exercises").is_dir() else Path(".")


@app.command(epilog="Example: `semanticbm check ex1_bm25.idf --hint 2`")
def check(
    exercise: Annotated[
        str | None, typer.Argument(help="an exercise, such as ex1_bm25.idf; else the next unsolved one")
    ] = None,
    hint: Annotated[int, typer.Option(min=0, help="how many hints to show, from vague to exact")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="folder with the exercise files; default: exercises, or this folder")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="also run the inputs that a teacher grades with")
    ] = False,
) -> None:
    """Feedback on one exercise: the first thing that is not right yet, and a hint."""
    from semanticbm.grading.commands import check_command

    raise typer.Exit(check_command(exercise, hint, folder or _exercises(), held_out))


@app.command(epilog="Example: `semanticbm grade submissions/ --held-out --json points.json`")
def grade(
    path: Annotated[
        Path | None, typer.Argument(help="a student's folder, or a folder of such folders; default as for check")
    ] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="also run the checks that students do not see")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write points as JSON")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write points as CSV")] = None,
    gradescope: Annotated[Path | None, typer.Option(help="write Gradescope's results.json")] = None,
    jobs: Annotated[int | None, typer.Option(help="students at a time; default: one for each core")] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="run without a sandbox where there is none: for people whom you know")
    ] = False,
) -> None:
    """Points for the exercises of one student or of a folder of students. Call again to go on after a stop."""
    from semanticbm.grading.commands import grade_command
    from semanticbm.grading.outputs import Files

    raise typer.Exit(
        grade_command(path or _exercises(), held_out, Files(json_file, csv_file, gradescope), jobs, trusted)
    )


@app.command(epilog="Example: `semanticbm train --out runs/seed2 --seed 2 --data ../data`")
def train(
    out: Annotated[Path, typer.Option(help="folder of the run: checkpoints, log, adapter")] = Path("runs/classroom"),
    data: Annotated[Path | None, typer.Option(help="folder with the training data, else SEMANTICBM_DATA")] = None,
    loss: Annotated[str, typer.Option(help="softmax+cosine, softmax or bce")] = "softmax+cosine",
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_SEED, help="seed of data order, crops, negatives and weights; 1 is the shipped one"
        ),
    ] = 1,
    max_steps: Annotated[
        int | None, typer.Option(help="optimiser steps, 48 pairs each; default: the shipped recipe")
    ] = None,
    examine: Annotated[bool, typer.Option(help="measure the adapter on the held-out queries after training")] = True,
) -> None:
    """Train the classroom model again from the backbone and the real pairs. Call again to resume."""
    from semanticbm.classroom_model.data import data_folder

    folder = data_folder(data)
    try:
        from semanticbm.classroom_model.training import LOSSES, Recipe, train_and_examine
    except ModuleNotFoundError as error:
        raise UserError(f"training needs {error.name}: pip install 'semanticbm[train]'.") from None
    if loss not in LOSSES:
        raise UserError(f"unknown loss {loss!r}: use {', '.join(LOSSES)}.")
    steps = {} if max_steps is None else {"max_steps": max_steps}
    train_and_examine(out, folder, Recipe(loss=loss, seed=seed, **steps), examine)


def _one_line_warning(message, category, *_args, **_kwargs) -> None:
    if issubclass(category, (TruncationWarning, DataWarning)):
        print(f"semanticbm: note: {message}", file=sys.stderr)


def _explain_os_error(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{place}: free some space and run the same command again."
    return f"{error.strerror or error}{place}: choose another place or mend its permissions."


STOPPED = "stopped. What was finished is kept: run the same command again to go on."
# What the parser raises for an unknown option or a missing argument: the base class of BadParameter, whichever click it is.
_USAGE_ERRORS = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run a command; turn mendable errors into one line and exit code 2."""
    warnings.showwarning = _one_line_warning
    try:
        code = app(arguments, standalone_mode=False) or 0
        if code != 130:  # the parser's code for Ctrl-C
            raise SystemExit(code)
        message = STOPPED
    except UserError as error:
        message = " ".join(str(error).split())
    except (KeyboardInterrupt, typer.Abort):
        message = STOPPED
    except _USAGE_ERRORS as error:
        message = f"{' '.join(error.format_message().split())} Try: semanticbm --help"
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("semanticbm", ""):
            raise
        message = f"{error.name} is missing: run make setup, or install semanticbm again. semanticbm doctor says more."
    except OSError as error:
        message = _explain_os_error(error)
    print(f"semanticbm: {message}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
