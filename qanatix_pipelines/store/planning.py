"""Settings of PostgreSQL's planner for a few statements of a transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

# Whole tables are read and joined by hash. A session of ours expects to ask an index for each row instead.
BY_HASH = {
    "enable_seqscan": "on",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "work_mem": "64MB",
}
_ask = sa.text("SELECT current_setting(:name)")
_change = sa.text("SELECT set_config(:name, :value, true)")


@contextmanager
def planned(transaction: sa.Connection, settings: Mapping[str, str]) -> Iterator[None]:
    """Have the server plan by these settings, until the end of the context."""
    before = {name: transaction.execute(_ask, {"name": name}).scalar_one() for name in settings}
    for name, value in settings.items():
        transaction.execute(_change, {"name": name, "value": value})
    yield  # a transaction that fails undoes them itself
    for name, value in before.items():
        transaction.execute(_change, {"name": name, "value": value})
