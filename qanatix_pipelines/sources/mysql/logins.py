"""Ways to log in that a MySQL server may ask for, and that we refuse: with them the driver would tell the password."""

from typing import Any

from qanatix_pipelines.errors import LoginRefused

_UNSUPPORTED = ("client_ed25519", "dialog", "mysql_old_password", "parsec")


def unanswered(*, encrypted: bool) -> dict[str, type]:
    """The driver's `auth_plugin_map`: what refuses each of these plugins. With TLS the bare password may be sent."""
    return dict.fromkeys((*_UNSUPPORTED, *(() if encrypted else ("mysql_clear_password",))), _Refused)


class _Refused:
    def __init__(self, _connection: Any) -> None: ...

    def authenticate(self, _packet: Any) -> None:
        raise LoginRefused(
            "The source asks for a way to log in that is not supported, or, without TLS, for the bare password."
        )
