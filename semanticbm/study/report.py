"""A report for reading: the claims table of the terminal, and report.md with what did not replicate first."""

from __future__ import annotations

from rich.table import Table

from semanticbm.study.paper_model import in_words

SECTIONS = {"Not reproduced": "not reproduced", "Not applicable": "not applicable", "Reproduced": "reproduced"}
COLOURS = {"reproduced": "green", "not reproduced": "red", "not applicable": "yellow"}


def number(value: float | None) -> str:
    """A measured number as text."""
    return "-" if value is None else f"{value:.3f}"


def interval(row: dict) -> str:
    """A 95 % interval as text."""
    return "-" if row["ci95"] is None else f"[{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]"


def claims_table(report: dict) -> Table:
    """The claims table for the terminal."""
    table = Table(title=f"{report['model']} on {report['collection']}: what the paper says, what was measured")
    for column in ("claim", "paper", "measured", "95 % interval", "n", "control", "verdict"):
        table.add_column(column, overflow="fold", no_wrap=column in ("claim", "95 % interval", "verdict"))
    for row in report["claims"]:
        table.add_row(
            row["id"],
            row["paper"],
            number(row["measured"]),
            interval(row),
            str(row["n"]),
            number(row["control"]),
            f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]",
        )
    return table


def markdown(report: dict) -> str:
    """report.md: what did not replicate first, then everything."""
    environment = ", ".join(f"{name} {value}" for name, value in report["environment"].items())
    lines = [
        f"# {report['model']} on {report['collection']}",
        "",
        f"Seed {report['seed']}, {report['queries']} queries{', quick run' if report['quick'] else ''}, "
        f"{report['seconds']:.0f} s, rules version {report['rules_version']}. {environment}.",
        "",
        *(f"- {role} heads: {', '.join(heads) or 'none'}" for role, heads in report["heads"].items()),
        "",
        *(in_words(report["paper_model"]) if "paper_model" in report else []),
    ]
    for title, verdict in SECTIONS.items():
        rows = [row for row in report["claims"] if row["verdict"] == verdict]
        lines += [f"## {title} ({len(rows)})", ""]
        lines += [line for row in rows for line in claim_lines(row)]
    return "\n".join(lines)


def claim_lines(row: dict) -> list[str]:
    """One claim as lines of markdown: each condition, the source, and changes of its rule."""
    conditions = [line for condition in (row, *row["also"]) for line in _condition_lines(condition)]
    return [
        f"**{row['id']}**: {row['statement']}",
        "",
        *conditions,
        f"- paper: {row['paper']} (source: {row['source']})",
        *(f"- {change}" for change in row["rule_changes"]),
        "",
    ]


def _condition_lines(condition: dict) -> list[str]:
    return [
        f"- measured {number(condition['measured'])}, 95 % interval {interval(condition)}, n = {condition['n']}: "
        f"{condition['statistic']}",
        f"- control {number(condition['control'])}: {condition['control_statistic']}",
        f"- rule: {condition['rule']}",
        *([f"- note: {condition['note']}"] if condition["note"] else []),
    ]
