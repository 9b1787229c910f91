"""What the commands that call the API take: its address, and a key."""

import os

import click

from qanatix_api.client import address
from qanatix_pipelines.keys import Scope, parse_key

KEY_VARIABLE = "QANATIX_API_KEY"


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


of_api = click.option(
    "--url",
    envvar="QANATIX_API_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    callback=_address,
    help="Where the API is.",
)


def key_with(*scopes: Scope) -> str:
    """The key in QANATIX_API_KEY. Raises UsageError, which names the scopes, if there is none."""
    key = parse_key(os.environ.get(KEY_VARIABLE, "").strip())
    if key is None:
        named = f"the scope{'s' if len(scopes) > 1 else ''} {' and '.join(scopes)}"
        raise click.UsageError(f"{KEY_VARIABLE} must hold an API key with {named}.")
    return key.text
