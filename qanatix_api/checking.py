"""Checks of a connector's settings, off the event loop: a long query takes a good part of a second to read."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.sources import check_connector, check_watch
from qanatix_pipelines.sources.source import SourceIdentity

Found = TypeVar("Found")

# Python reads one at a time in any case. More threads would only keep requests that read no query from their turn.
_READERS = ThreadPoolExecutor(2, "queries")


async def checked(new: NewConnector) -> SourceIdentity:
    """Which database a connector reads. Connects to nothing. Raises InvalidConnector."""
    return await apart(_checked, new)


async def apart(check: Callable[..., Found], *arguments: Any) -> Found:
    """What a check of settings finds, in a thread that does nothing else."""
    return await asyncio.get_running_loop().run_in_executor(_READERS, partial(check, *arguments))


def _checked(new: NewConnector) -> SourceIdentity:
    identity = check_connector(new.connector_type, new.connection_config, new.query, new.cursor_column)
    check_watch(new.connector_type, new.query, new.watch)
    return identity
