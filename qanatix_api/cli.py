"""`qanatix`, whole: what tends the store, and `pull`, which asks the API as any caller does."""

import os
from uuid import UUID

import click
from tqdm import tqdm

from qanatix_api.following import Api, NoReceipt, address
from qanatix_api.receipts import Phase, PullReceipt
from qanatix_pipelines.cli import main
from qanatix_pipelines.keys import Scope, parse_key
from qanatix_pipelines.pulls import PullStatus
from qanatix_pipelines.rejections import told_by_reason

KEY_VARIABLE = "QANATIX_API_KEY"
INTERRUPTED = 130


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@main.command()
@click.argument("connector_id", type=click.UUID)
@click.option(
    "--url",
    envvar="QANATIX_API_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    callback=_address,
    help="Where the API is.",
)
@click.option("--full-refresh", is_flag=True, help="Read everything, as on a first pull.")
@click.pass_context
def pull(context: click.Context, connector_id: UUID, url: str, full_refresh: bool) -> None:
    """Pull a connector over the API and follow that to its end, on stderr if it is a terminal.

    Prints the receipt as JSON, and exits with 0 if the pull completed, with 1 if not. The API key is taken from
    QANATIX_API_KEY; it needs the scopes pulls:run and connectors:read. Ctrl-C ends the following and not the pull.
    """
    receipt: PullReceipt | None = None
    with Api(url, _key()) as api:
        try:
            receipt, where = api.begin(connector_id, full_refresh=full_refresh)
            # `None`: where stderr is no terminal.
            with tqdm(desc=_told(receipt), bar_format="{desc} [{elapsed}]", disable=None) as line:
                for seen in api.follow(receipt, where):
                    receipt = seen
                    line.set_description_str(_told(seen))
        except KeyboardInterrupt:
            click.echo(_left(api, receipt), err=True)
            context.exit(INTERRUPTED)
        except NoReceipt as error:
            raise click.ClickException(str(error) if receipt is None else f"{error} {_left(api, receipt)}") from None
    click.echo(receipt.model_dump_json())
    if receipt.rejected_by_reason:
        click.echo(told_by_reason(receipt.rejected_by_reason), err=True)
    for warning in receipt.warnings:
        click.echo(f"{warning.code}: {warning.sentences}", err=True)
    if receipt.error is not None:
        click.echo(f"{receipt.error.code}: {receipt.error.detail}", err=True)
    if receipt.status is not PullStatus.COMPLETED:
        context.exit(1)


def _key() -> str:
    key = parse_key(os.environ.get(KEY_VARIABLE, "").strip())
    if key is None:
        scopes = f"{Scope.PULLS_RUN} and {Scope.CONNECTORS_READ}"
        raise click.UsageError(f"{KEY_VARIABLE} must hold an API key with the scopes {scopes}.")
    return key.text


def _told(receipt: PullReceipt) -> str:
    """A line's length; how many rows there will be nobody knows before the end."""
    read = receipt.progress
    rate = "" if read.records_per_second is None else f", {read.records_per_second:,} rows/s"
    at = receipt.status if read.phase is not Phase.MERGING else f"merging for {read.merging_seconds or 0:.0f} s"
    return f"{at}: {read.records_read:,} rows{rate}, {read.bytes_read / 2**20:,.1f} MiB"


def _left(api: Api, receipt: PullReceipt | None) -> str:
    """What became of a pull that is not followed any more, and how to cancel it."""
    if receipt is None:
        return "The pull may have begun."
    cancel = f'curl -X POST {api.pulls_url}/{receipt.pull_id}/cancel -H "Authorization: Bearer ${KEY_VARIABLE}"'
    return f"The pull goes on. To cancel it: {cancel}"
