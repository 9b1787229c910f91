"""Moves entities from the table that had all sets (until 0016) to that of their set, a part at a time.

A part is a transaction. So if it is stopped, it goes on after the last part. Entities of a set are moved in the order
of their creation, and numbered in it.
"""

from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.store.tables import SCHEMA

PART = 100_000
_COLUMNS = "digest, source_id, name, data, connector_id, pull_id, created_at, updated_at"


def move(connection: sa.Connection) -> bool:
    """Move the next part, in the caller's transaction. False if nothing is left to be moved."""
    sqlite = connection.dialect.name == "sqlite"
    prefix = "" if sqlite else f"{SCHEMA}."
    # A set that has had a change was moved.
    found = connection.exec_driver_sql(
        f"SELECT number, tenant, vertical, entity_type FROM {prefix}entity_set "
        "WHERE entities > 0 AND changes = 0 ORDER BY number LIMIT 1"
    ).one_or_none()
    if found is None:
        return False
    number, *names = found
    own = dict(zip(("tenant", "vertical", "entity_type"), names, strict=True))
    into = "entity" if sqlite else f"{SCHEMA}.entity_{number}"
    if sqlite:
        driver: Any = connection.connection.dbapi_connection
        driver.create_function("unhexed", 1, bytes.fromhex, deterministic=True)
    else:
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {into} "
            f"(LIKE {SCHEMA}.entity, CONSTRAINT entity_{number}_set CHECK (set_number = {number}))"
        )
        connection.exec_driver_sql("SELECT qanatix.share(%s, 'entity')", (f"entity_{number}",))
        # Rows are appended to it in its order, which costs little.
        connection.exec_driver_sql(
            f'CREATE INDEX IF NOT EXISTS entity_{number}_created ON {into} ("created_at", "row")'
        )
    if not _moved(connection, prefix, into, number, own):
        _finish(connection, prefix, into, number)
    return True


def _moved(connection: sa.Connection, prefix: str, into: str, number: int, own: dict[str, str]) -> int:
    """How many entities this part has."""
    sqlite = not prefix
    last = connection.exec_driver_sql(
        f'SELECT "row", created_at, {"lower(hex(id))" if sqlite else "id"} FROM {into} WHERE set_number = {number} '
        'ORDER BY created_at DESC, "row" DESC LIMIT 1'
    ).one_or_none()
    after: dict[str, Any] = {"first": 0 if last is None else last[0]}
    beyond = ""
    if last is not None:
        beyond = "AND (created_at, id) > (:time, :id)"
        after |= {"time": last[1], "id": last[2]}
    taken = (
        f"SELECT * FROM {prefix}entity_before "
        f"WHERE tenant = :tenant AND vertical = :vertical AND entity_type = :entity_type {beyond} "
        f"ORDER BY created_at, id LIMIT {PART}"
    )
    place = "CAST(:first AS bigint) + row_number() OVER (ORDER BY created_at, id)"
    return connection.execute(
        sa.text(
            f'INSERT INTO {into} ("row", id, set_number, {_COLUMNS}) '
            f"SELECT {place}, {'unhexed(id)' if sqlite else 'id'}, {number}, {_COLUMNS} FROM ({taken}) AS taken"
        ),
        own | after,
    ).rowcount


def _finish(connection: sa.Connection, prefix: str, into: str, number: int) -> None:
    """Number the pulls that changed the set, and on PostgreSQL make its table a partition."""
    if prefix:
        connection.exec_driver_sql(f"CREATE UNIQUE INDEX entity_{number}_id ON {into} (id)")
        connection.exec_driver_sql(f'CREATE INDEX entity_{number}_pull ON {into} ("pull_id", "row")')
        connection.exec_driver_sql(f"ANALYZE {into} (id, created_at, pull_id)")
        connection.exec_driver_sql(f"SELECT qanatix.attach_leaf({number})")
    connection.exec_driver_sql(
        f"UPDATE {prefix}pull SET set_number = {number}, change_number = numbered.change FROM ("
        "SELECT id AS of, row_number() OVER (ORDER BY finished_at, id) AS change "
        f"FROM {prefix}pull WHERE id IN (SELECT DISTINCT pull_id FROM {into} WHERE set_number = {number})"
        f") AS numbered WHERE {'pull' if not prefix else prefix + 'pull'}.id = numbered.of"
    )
    # At least 1, which says that the set was moved.
    connection.exec_driver_sql(
        f"UPDATE {prefix}entity_set SET changes = (SELECT greatest_of.change FROM (SELECT "
        f"coalesce(max(change_number), 1) AS change FROM {prefix}pull WHERE set_number = {number}) AS greatest_of) "
        f"WHERE number = {number}"
    )
