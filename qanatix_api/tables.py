"""Tables for a terminal. What they show comes from a source, so nothing in it reaches the terminal as a command."""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

_COLOURS = {"passed": "green", "failed": "red", "warned": "yellow", "skipped": None}
# In characters.
_CELL = 40
_NARROWEST = 30
# A decimal in JSON, which knows none: a string that no store holds.
_MARKED = re.compile(r'"\\u0000([^"]*)\\u0000"')


def shown(text: str) -> str:
    """A text in one line, without what a terminal would act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def as_json(value: Any) -> str:
    """A value as JSON. Its numbers may be decimals, and keep every digit."""
    return _MARKED.sub(r"\1", json.dumps(value, ensure_ascii=False, default=lambda number: f"\0{number}\0"))


def paragraph(text: str) -> str:
    """A text in lines that fit the terminal."""
    return textwrap.fill(shown(text), max(_NARROWEST, _width()), break_on_hyphens=False)


def say(text: str) -> None:
    """Print a text on stderr: in lines that fit if that is a terminal, else in one."""
    click.echo(paragraph(text) if sys.stderr.isatty() else shown(text), err=True)


def aligned(rows: Sequence[Sequence[str]], indent: int = 2, right: int | None = None) -> Iterator[str]:
    """The rows with their columns one below the other. The column `right` is of numbers."""
    cells = [[shown(cell) for cell in row] for row in rows]
    places = range(max(map(len, cells), default=0))
    widths = [max(len(row[place]) for row in cells if place < len(row)) for place in places]
    for row in cells:
        padded = [
            cell.rjust(width) if place == right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield (" " * indent + "  ".join(padded)).rstrip()


def checks_table(checks: Sequence[Mapping[str, Any]]) -> str:
    """A line for each check, and further ones for the rest of its detail."""
    name, status = (max((len(str(check[field])) for check in checks), default=0) for field in ("name", "status"))
    before = status + 2 + name + 2 + len("0.000 s") + 2
    width = max(_NARROWEST, _width() - before)
    lines: list[str] = []
    for check in checks:
        seconds = "" if check["seconds"] is None else f"{float(check['seconds']):.3f} s"
        told = textwrap.wrap(shown(check["detail"]), width) or [""]
        head = click.style(f"{shown(check['status']):<{status}}", fg=_COLOURS.get(check["status"]))
        lines.append(f"{head}  {shown(check['name']):<{name}}  {seconds:>7}  {told[0]}".rstrip())
        lines += [" " * before + more for more in told[1:]]
    return "\n".join(lines)


def checks_told(checks: Sequence[Mapping[str, Any]]) -> str:
    """As `checks_table`, but what was not tried after the check that failed is one line."""
    failed = next((place for place, check in enumerate(checks) if check["status"] == "failed"), len(checks))
    left = [check["name"] for check in checks[failed + 1 :]]
    table = checks_table(checks[: failed + 1])
    if not left:
        return table
    return f"{table}\n" + paragraph(f"Not tried, because {checks[failed]['name']} failed: {', '.join(left)}.")


def warnings_told(warnings: Sequence[Mapping[str, Any]]) -> str:
    """A paragraph for each warning."""
    return "\n".join(paragraph(f"warning: {warning['detail']}") for warning in warnings)


def outcome(checks: Sequence[Mapping[str, Any]], warnings: Sequence[object]) -> str:
    """How a test went, in a sentence."""
    failed = next((check["name"] for check in checks if check["status"] == "failed"), None)
    if failed is not None:
        return click.style(f"Failed at {shown(failed)}.", fg=_COLOURS["failed"])
    count = len(warnings) + sum(check["status"] == "warned" for check in checks)
    if not count:
        return click.style("Passed.", fg=_COLOURS["passed"])
    return click.style(f"Passed, with {count} warning{'' if count == 1 else 's'}.", fg=_COLOURS["warned"])


def columns_table(columns: Sequence[Mapping[str, Any]]) -> str:
    """The columns of the result: name, type, what they become, and their role."""
    heads = ("column", "type", "becomes", "role")
    return _table(heads, [[column["name"], column["type"], column["becomes"], column["role"]] for column in columns])


def rows_table(sample: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]) -> str:
    """The entities, their fields in the order of the query's columns, then those that are in none.

    Columns that do not fit the terminal are left out, and counted.
    """
    if not sample:
        return "There are no rows."
    fields = (field for entity in sample for field in entity["vertical_data"] or ())
    heads = list(dict.fromkeys([*(column["name"] for column in columns), *fields]))
    roles = {column["name"]: column["role"] for column in columns}
    return _table(heads, [[_field(entity, head, roles.get(head)) for head in heads] for entity in sample])


def _field(entity: Mapping[str, Any], name: str, role: str | None) -> Any:
    """A field's value. The name is no part of the data, and of data for which there was no room the key is known."""
    data = entity["vertical_data"] or {}
    known = {"name": entity["name"], "key": entity["source_id"]}.get(role or "")
    return data.get(name, known)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_cell(value) for value in row] for row in [heads, *rows]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    room, fit = _width(), 0
    for width in widths:
        if fit and room < width:
            break
        fit, room = fit + 1, room - width - 2
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row[:fit], widths, strict=False)) for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths[:fit]))
    left = len(heads) - fit
    if left:
        lines.append(f"{left} more column{'' if left == 1 else 's'} did not fit: --json shows all.")
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    match value:
        case None:
            text = ""
        case str():
            text = value
        case _:
            text = as_json(value)
    text = shown(text)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _width() -> int:
    return shutil.get_terminal_size().columns
