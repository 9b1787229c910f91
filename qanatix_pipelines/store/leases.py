"""Until when a running pull is held to be alive: each sign of life says it anew."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from qanatix_pipelines.pulls import LEASE_SECONDS, PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now


def lease(seconds: int = LEASE_SECONDS) -> datetime:
    """Until when a pull is held to be alive that gives a sign now."""
    return now() + timedelta(seconds=seconds)


def lengthen(transaction: sa.Connection, held_since: datetime) -> None:
    """Give back to all running pulls the time for which this transaction, SQLite's only writer, let them give no sign.

    A lease that had run out before stays so, else a dead pull would seem alive for as long as others commit.
    """
    pull = tables.pull.c
    alive = (pull.status == PullStatus.RUNNING) & (pull.lease_until >= held_since)
    held = now() - held_since
    for pull_id, until in transaction.execute(sa.select(pull.id, pull.lease_until).where(alive)).all():
        transaction.execute(tables.pull.update().where(pull.id == pull_id).values(lease_until=until + held))
