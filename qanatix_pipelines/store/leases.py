"""Leases: until when a running pull counts as alive. Each heartbeat renews it."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from qanatix_pipelines.receipts import LEASE_SECONDS, PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now


def lease(seconds: int = LEASE_SECONDS) -> datetime:
    """The end of a lease that begins now."""
    return now() + timedelta(seconds=seconds)


def lengthen(transaction: sa.Connection, held_since: datetime) -> None:
    """Extend the leases of all running pulls by the time for which this transaction has kept them from renewing.

    On SQLite it is the only writer meanwhile. A lease that had run out before is not extended: otherwise a dead pull
    would look alive for as long as others commit.
    """
    pull = tables.pull.c
    alive = (pull.status == PullStatus.RUNNING) & (pull.lease_until >= held_since)
    held = now() - held_since
    for pull_id, until in transaction.execute(sa.select(pull.id, pull.lease_until).where(alive)).all():
        transaction.execute(tables.pull.update().where(pull.id == pull_id).values(lease_until=until + held))
