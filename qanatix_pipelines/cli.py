"""`qanatix`: tends the store. Serving is uvicorn's and Dagster's."""

import sys

import click

from qanatix_pipelines.connectors import printable
from qanatix_pipelines.errors import QanatixError
from qanatix_pipelines.settings import new_fernet_key, read_settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.keys import KeyStore, check_pepper
from qanatix_pipelines.store.opening import open_engine, open_store


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except QanatixError as error:
            raise click.ClickException(str(error)) from None


def _printable(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return printable(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=_Group)
@click.version_option(package_name="qanatix-connectors")
def main() -> None:
    """Tend the store of the QANATIX Connectors API. Its address and keys come from the environment; see the README."""


@main.command()
def migrate() -> None:
    """Bring the store's tables to this release's form."""
    migrations.upgrade(connect(read_settings().store_address()))
    click.echo("The store is ready.", err=True)


@main.command("generate-key")
def generate_key() -> None:
    """Print a new key for CONNECTOR_ENCRYPTION_KEY."""
    click.echo(new_fernet_key())


@main.command("rotate-credentials")
def rotate_credentials() -> None:
    """Encrypt all credentials again, under the first key of CONNECTOR_ENCRYPTION_KEY: then the others may go."""
    count = open_store(read_settings()).connectors.rotate()
    click.echo(f"Credentials of {count} connectors are under the first key.", err=True)


@main.group()
def keys() -> None:
    """API keys: who may call the API."""


@keys.command("create")
@click.option("--name", default="default", show_default=True, callback=_printable, help="What the key is for.")
def create_key(name: str) -> None:
    """Make an API key and print it. It is not shown again."""
    click.echo(_key_store().create(name).text)
    if sys.stdout.isatty():
        click.echo("Keep it: only a keyed hash is stored.", err=True)


@keys.command("list")
def list_keys() -> None:
    """Show the keys' ids, names and dates."""
    for record in _key_store().list():
        click.echo(f"{record.id}  {record.created_at:%Y-%m-%d %H:%M}  {record.name}")


@keys.command("revoke")
@click.argument("key_id")
def revoke_key(key_id: str) -> None:
    """Refuse a key from now on. KEY_ID is what `qanatix keys list` shows."""
    if not _key_store().revoke(key_id):
        raise click.ClickException(f"No API key has the id {key_id}.")


def _key_store() -> KeyStore:
    settings = read_settings()
    pepper = settings.api_key_pepper()
    engine = open_engine(settings)
    check_pepper(engine, pepper)
    return KeyStore(engine, pepper)
