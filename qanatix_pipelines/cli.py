"""The command `qanatix`, which administers the store. `qanatix_api.cli` adds the commands that call the API."""

from datetime import datetime, timedelta

import click

from qanatix_pipelines.connectors import printable
from qanatix_pipelines.errors import NotFound, QanatixError, StoreUnavailable
from qanatix_pipelines.keys import KEY_ID, USUAL_SCOPES, ApiKey, Scope
from qanatix_pipelines.settings import new_fernet_key, read_settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS, connect, named
from qanatix_pipelines.store.keys import KeyStore, check_pepper
from qanatix_pipelines.store.opening import check_proofs, open_engine, open_store
from qanatix_pipelines.tenants import DEFAULT, Tenant, tenant

ERASURE_SECONDS = 30


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StoreUnavailable as error:
            raise click.ClickException(error.reason or str(error)) from None
        except QanatixError as error:
            raise click.ClickException(str(error)) from None


def _printable(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return printable(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _tenant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Tenant | None:
    try:
        return None if value is None else tenant(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_of_tenant = click.option(
    "--tenant",
    "of",
    metavar="NAME",
    default=DEFAULT,
    show_default=True,
    callback=_tenant,
    help="The tenant that owns the key.",
)


def _key_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The message does not repeat the value: it may be a whole key, and a screen or a job's log would show it."""
    if not KEY_ID.fullmatch(value):
        raise click.BadParameter("A key's id is what `qanatix keys list` shows: 8 digits or letters from a to f.")
    return value


@click.group(cls=_Group)
@click.version_option(package_name="qanatix-connectors")
def main() -> None:
    """Tend the store of the QANATIX Connectors API, and pull. All keys come from the environment; see the README."""


@main.command()
def migrate() -> None:
    """Bring the store's tables to this release's form. In production both secrets must be given, as to the API."""
    settings = read_settings()
    engine = connect(settings.store_address())
    if settings.production:  # in development a secret is generated when it is first needed
        settings.check_secrets()
    migrations.upgrade(engine)
    check_proofs(engine, settings)
    click.echo(f"The store is ready: {named(engine)}.", err=True)


@main.command("generate-key")
def generate_key() -> None:
    """Print a new key for CONNECTOR_ENCRYPTION_KEY."""
    click.echo(new_fernet_key())


@main.group()
def keys() -> None:
    """API keys, and the key under which credentials are encrypted."""


@keys.command("create")
@click.option("--name", default="default", show_default=True, callback=_printable, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="What it allows; may be given several times. Without it: all but admin.",
)
@click.option("--expires-in-days", type=click.IntRange(1, 3650), help="When it ends. Without it: never.")
@_of_tenant
def create_key(name: str, scopes: tuple[str, ...], expires_in_days: int | None, of: Tenant) -> None:
    """Make an API key and print it. It is not shown again."""
    expires_in = None if expires_in_days is None else timedelta(days=expires_in_days)
    store, store_name = _key_store(of)
    _print_secret(store.create(name, frozenset(map(Scope, scopes)) or USUAL_SCOPES, expires_in), store_name)


@keys.command("list")
@click.option("--tenant", "of", metavar="NAME", callback=_tenant, help="Only this tenant's keys. Without it: all keys.")
def list_keys(of: Tenant | None) -> None:
    """Show the keys: id, tenant, made when, last used when, until when, scopes and name."""
    store, store_name = _key_store(DEFAULT)
    click.echo(f"Store: {store_name}. A line each: id, tenant, made, last used, until, scopes, name; in UTC.", err=True)
    for one in store.tenants() if of is None else [of]:
        for key in store.of(one).list():
            until = f"revoked {_minute(key.revoked_at)}" if key.revoked_at else f"until {_minute(key.expires_at)}"
            dates = f"{_minute(key.created_at)}  used {_minute(key.last_used_at)}  {until}"
            click.echo(f"{key.id}  {key.tenant}  {dates}  {','.join(sorted(key.scopes))}  {key.name}")


@keys.command("rotate")
@click.argument("key_id", callback=_key_id)
@click.option(
    "--grace-seconds",
    type=click.IntRange(0, 30 * 24 * 3600),
    default=0,
    show_default=True,
    help="How long the old secret stays valid.",
)
@_of_tenant
def rotate_key(key_id: str, grace_seconds: int, of: Tenant) -> None:
    """Give a key a new secret and print it. KEY_ID is what `qanatix keys list` shows."""
    store, store_name = _key_store(of)
    _check_known(store, key_id, store_name)
    try:
        _print_secret(store.rotate(key_id, timedelta(seconds=grace_seconds)), store_name)
    except NotFound:
        raise click.ClickException(
            f"The key {key_id} of the tenant {of} is revoked or expired: make another. Store: {store_name}."
        ) from None


@keys.command("revoke")
@click.argument("key_id", callback=_key_id)
@_of_tenant
def revoke_key(key_id: str, of: Tenant) -> None:
    """Refuse a key from now on. KEY_ID is what `qanatix keys list` shows."""
    store, store_name = _key_store(of)
    _check_known(store, key_id, store_name)
    how = "refused from now on" if store.revoke(key_id) else "revoked already"
    click.echo(f"The key {key_id} of the tenant {of} is {how}. Store: {store_name}.", err=True)


@keys.command("rotate-encryption")
def rotate_encryption() -> None:
    """Encrypt all credentials again, under the first key of CONNECTOR_ENCRYPTION_KEY.

    Pulls and the API go on meanwhile. It may be stopped at any time and run again. Exits with 1 while an old key is
    still needed.
    """
    store = open_store(read_settings(), PULL_PATIENCE_SECONDS)
    store_name, moved = named(store.engine), 0

    def tell(done: int, of: int) -> None:
        """Show the progress in about twenty lines, which suits a terminal and a log."""
        nonlocal moved
        moved = done
        if done == of or done % max(1, of // 20) == 0:
            click.echo(f"{done} of {of}", err=True)

    rotated = store.connectors.rotate(tell)
    for left in rotated.behind:
        click.echo(
            f"{left.id}  {left.name}  is still under an old key: a process wrote it that has another first key",
            err=True,
        )
    for left in rotated.unreadable:
        click.echo(
            f"{left.id}  {left.name}  is under none of the keys: bring its key back, or register it again", err=True
        )
    if not store.connectors.erasure.wait(ERASURE_SECONDS):
        click.echo("What was encrypted under old keys stays in SQLite's log until nobody reads the store.", err=True)
    if rotated.behind:
        raise click.ClickException(
            "Keep the old keys, see that every process has the same first one, and run it again."
        )
    if rotated.unreadable:
        raise click.ClickException("The others are under the first key; these need a key that is not here.")
    count = "1 connector is" if rotated.connectors == 1 else f"{rotated.connectors} connectors are"
    click.echo(
        f"{'' if moved else 'Nothing to rotate: '}{count} under the first key of CONNECTOR_ENCRYPTION_KEY; keys after "
        f"it may be removed. Store: {store_name}.",
        err=True,
    )


def _print_secret(key: ApiKey, store_name: str) -> None:
    click.echo(key.text)
    click.echo(f"Keep it: only a keyed hash is stored. Store: {store_name}.", err=True)


def _check_known(store: KeyStore, key_id: str, store_name: str) -> None:
    try:
        store.get(key_id)
    except NotFound:
        raise click.ClickException(
            f"No API key of the tenant {store.tenant} has the id {key_id}. Store: {store_name}."
        ) from None


def _minute(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _key_store(of: Tenant) -> tuple[KeyStore, str]:
    """The tenant's keys, and the name of the store that has them."""
    settings = read_settings()
    pepper = settings.api_key_pepper()
    engine = open_engine(settings)
    check_pepper(engine, pepper)
    check_proofs(engine, settings)
    return KeyStore(engine, pepper, of), named(engine)
