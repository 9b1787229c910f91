"""`qanatix test` and `qanatix preview`: what a pull would find and bring, before there is one."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import yaml

from qanatix_api.client import Client, NoReceipt
from qanatix_api.options import key_with, of_api
from qanatix_api.tables import checks_table, checks_told, columns_table, outcome, rows_table, say, warnings_told
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.reports import MOST_ROWS, ROWS

Asked = UUID | dict[str, Any]


class _ConnectorType(click.ParamType[Asked]):
    """A connector's id, or a file that holds the body of `POST /connectors`."""

    name = "ID|FILE"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Asked:
        if isinstance(value, UUID | dict):
            return value
        try:
            return UUID(value)
        except ValueError:
            pass
        try:
            text = Path(value).read_text(encoding="utf-8")
        except (OSError, ValueError):
            self.fail("It is no connector's id, and no file of that name can be read as text.", parameter, context)
        try:
            body = yaml.safe_load(text)  # which takes JSON, too
        except (yaml.YAMLError, ValueError):  # whose text may show a password
            self.fail("The file is neither JSON nor YAML.", parameter, context)
        if not isinstance(body, dict):
            self.fail("The file must hold an object: the body of POST /connectors.", parameter, context)
        return body


_connector = click.argument("connector", type=_ConnectorType())
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as it is, for programs.")


@click.command()
@_connector
@of_api
@_as_json
@click.pass_context
def test(context: click.Context, connector: Asked, url: str, as_json: bool) -> None:
    """Test a connector: connect to its database as a pull would, and say of each step how it went.

    CONNECTOR is the id of a registered connector, or a JSON or YAML file with the body of POST /connectors, whose name
    and entity set may be left out. Exits with 0 if no check failed, with 1 if one did. The API key is taken from
    QANATIX_API_KEY; it needs the scope connectors:write.
    """
    answer = _tested(connector, url, ROWS)
    report = _parsed(answer)
    if as_json:
        click.echo(answer)
    else:
        told = (
            checks_told(report["checks"]),
            warnings_told(report["warnings"]),
            outcome(report["checks"], report["warnings"]),
        )
        click.echo("\n\n".join(filter(None, told)))
    if not report["ok"]:
        context.exit(1)


@click.command()
@_connector
@of_api
@click.option(
    "--rows", type=click.IntRange(1, MOST_ROWS), default=ROWS, show_default=True, help="How many rows are shown."
)
@_as_json
@click.pass_context
def preview(context: click.Context, connector: Asked, url: str, rows: int, as_json: bool) -> None:
    """Show the first rows of a connector as they would be stored, and those that would be rejected.

    CONNECTOR is as for `qanatix test`. Nothing is ingested. If a check fails, it is shown instead, and the exit status
    is 1. The API key is taken from QANATIX_API_KEY; it needs the scope connectors:write.
    """
    answer = _tested(connector, url, rows)
    report = _parsed(answer)
    if as_json:
        click.echo(answer)
    elif report["ok"]:
        click.echo(f"{columns_table(report['columns'])}\n\n{rows_table(report['sample'], report['columns'])}")
        for rejected in report["rejected"]:
            where = "" if rejected["column"] is None else f" ({rejected['column']})"
            say(f"row {rejected['row']} would be rejected: {rejected['detail']}{where}")
    else:
        click.echo(checks_table([check for check in report["checks"] if check["status"] == "failed"]))
    if not report["ok"]:
        context.exit(1)


def _tested(connector: Asked, url: str, rows: int) -> str:
    with Client(url, key_with(Scope.CONNECTORS_WRITE)) as client:
        try:
            return client.test(connector, rows)
        except NoReceipt as error:
            raise click.ClickException(str(error)) from None


def _parsed(answer: str) -> dict[str, Any]:
    """The report, with every digit of its numbers."""
    try:
        report: dict[str, Any] = json.loads(answer, parse_float=Decimal, parse_int=Decimal)
        report["ok"], report["checks"], report["sample"]  # an answer of something else lacks them
    except (ValueError, KeyError, TypeError):
        raise click.ClickException("What answers there is not this release's API.") from None
    return report
