"""The complete `qanatix` command: that of `qanatix_pipelines.cli`, and what calls the API, such as `pull`."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import click
from pydantic import ValidationError
from tqdm import tqdm

from qanatix_api.answer_tables import receipt_table, watermark_table
from qanatix_api.client import Client, NoReceipt
from qanatix_api.dry_run_table import tables
from qanatix_api.look_commands import preview, test
from qanatix_api.options import KEY_VARIABLE, key_with, of_api
from qanatix_api.receipts import Phase, PullReceipt
from qanatix_api.tables import say
from qanatix_pipelines.cli import main
from qanatix_pipelines.extents import Extent, typed
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.rejections import told_by_reason

INTERRUPTED = 130

main.add_command(test)
main.add_command(preview)


_connector = click.argument("connector_id", type=click.UUID)
_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON on a terminal, too, in the place of a table.",
)


@main.command()
@_connector
@of_api
@click.option("--full-refresh", is_flag=True, help="Read everything, as on a first pull.")
@click.option("--since", metavar="VALUE", help="Read again from this time, such as 2026-01-31T00:00:00Z, or integer.")
@click.option("--until", metavar="VALUE", help="And up to this one, where the query says :until.")
@click.option("--limit", type=int, metavar="N", help="Read at most so many rows.")
@click.option("--dry-run", is_flag=True, help="Only show what the pull would do.")
@_json
@click.pass_context
def pull(context: click.Context, /, connector_id: UUID, url: str, dry_run: bool, as_json: bool, **asked: Any) -> None:
    """Pull a connector over the API and follow that to its end, on stderr if it is a terminal.

    With --since or --limit, where the next pull begins stays as it is.

    Prints the receipt, and exits with 0 if the pull completed, with 1 if not. The API key is taken from
    QANATIX_API_KEY; it needs the scopes pulls:run and connectors:read. Ctrl-C ends the following and not the pull.

    With --dry-run nothing is ingested, and the key needs the scopes pulls:run and connectors:write. Ctrl-C ends it.
    """
    receipt: PullReceipt | None = None
    extent = _extent(asked)
    if dry_run:
        answer = _tried(context, connector_id, url, extent)
        _print(answer, tables(answer), as_json)
        return
    with Client(url, key_with(Scope.PULLS_RUN, Scope.CONNECTORS_READ)) as client:
        try:
            receipt, where = client.begin(connector_id, extent)
            # `disable=None` shows nothing unless stderr is a terminal.
            with tqdm(desc=_told(receipt), bar_format="{desc} [{elapsed}]", disable=None) as line:
                for seen in client.follow(receipt, where):
                    receipt = seen
                    line.set_description_str(_told(seen))
        except KeyboardInterrupt:
            click.echo(_left(client, receipt), err=True)
            context.exit(INTERRUPTED)
        except NoReceipt as error:
            raise click.ClickException(str(error) if receipt is None else f"{error} {_left(client, receipt)}") from None
    _print(receipt.model_dump_json(), receipt_table(receipt), as_json)
    if receipt.rejected_by_reason:
        say(told_by_reason(receipt.rejected_by_reason))
    for warning in receipt.warnings:
        say(f"{warning.code}: {warning.sentences}")
    if receipt.error is not None:
        say(f"{receipt.error.code}: {receipt.error.detail}")
    if receipt.status is not PullStatus.COMPLETED:
        context.exit(1)


@main.command()
@_connector
@of_api
@click.option("--set", "value", metavar="VALUE", help="Begin the next pull at this time, or integer, less the overlap.")
@click.option("--reset", is_flag=True, help="Have the next pull read everything.")
@_json
def watermark(connector_id: UUID, url: str, value: str | None, reset: bool, as_json: bool) -> None:
    """Show up to where a connector's source was read, or set it.

    The API key is taken from QANATIX_API_KEY; it needs the scope connectors:read, and to set it connectors:write. It
    cannot be set while a pull is in progress.
    """
    if value is not None and reset:
        raise click.UsageError("--set and --reset contradict each other.")
    changes = value is not None or reset
    with Client(url, key_with(Scope.CONNECTORS_WRITE if changes else Scope.CONNECTORS_READ)) as client:
        try:
            if changes:
                told = client.set_watermark(connector_id, None if value is None else typed(value))
            else:
                told = client.watermark(connector_id)
        except NoReceipt as error:
            raise click.ClickException(str(error)) from None
    _print(told.model_dump_json(), watermark_table(told), as_json)


def _print(answer: str, lines: Iterable[str], as_json: bool) -> None:
    """An answer as JSON, or on a terminal, unless JSON is asked for, as the lines of a table."""
    click.echo(answer if as_json or not sys.stdout.isatty() else "\n".join(lines))


def _tried(context: click.Context, connector_id: UUID, url: str, extent: Extent) -> str:
    """The answer of a dry run, as JSON."""
    where = None
    with Client(url, key_with(Scope.PULLS_RUN, Scope.CONNECTORS_WRITE)) as client:
        try:
            where = client.begin_dry_run(connector_id, extent)
            return client.dry_run(where)
        except KeyboardInterrupt:
            if where is not None:
                client.end_dry_run(where)
            context.exit(INTERRUPTED)
        except NoReceipt as error:
            raise click.ClickException(str(error)) from None


def _extent(asked: Mapping[str, Any]) -> Extent:
    try:
        return Extent.model_validate({name: typed(v) if isinstance(v, str) else v for name, v in asked.items()})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise click.UsageError(f"--{wrong['loc'][0]} {wrong['msg'].removeprefix('Value error, ')}.") from None


def _told(receipt: PullReceipt) -> str:
    """The progress in one line. It has no percentage, because the number of rows is not known before the end."""
    read = receipt.progress
    rate = "" if read.records_per_second is None else f", {read.records_per_second:,} rows/s"
    at = receipt.status if read.phase is not Phase.MERGING else f"merging for {read.merging_seconds or 0:.0f} s"
    return f"{at}: {read.records_read:,} rows{rate}, {read.bytes_read / 2**20:,.1f} MiB"


def _left(client: Client, receipt: PullReceipt | None) -> str:
    """That the pull continues without being followed, and how to cancel it."""
    if receipt is None:
        return "The pull may have begun."
    cancel = f'curl -X POST {client.pulls_url}/{receipt.pull_id}/cancel -H "Authorization: Bearer ${KEY_VARIABLE}"'
    return f"The pull goes on. To cancel it: {cancel}"
