"""What a connector's settings alone tell that is probably not intended, or could be cheaper."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.reports import Advice, AdviceCode

# A schedule that pulls at least as often as this would be cheaper as a watch.
OFTEN = timedelta(minutes=15)

NO_LAST_PULL = Advice(
    code=AdviceCode.NO_LAST_PULL,
    detail=(
        "The query does not say :last_pull, so each pull reads everything again. Compare it with a column that each "
        "change sets, as in WHERE updated_at > :last_pull."
    ),
)
NO_KEY = Advice(
    code=AdviceCode.NO_KEY,
    detail=(
        "The result has no key, so each change of a row is a new entity, and the old one stays. Name the column that "
        "tells rows apart as id_column."
    ),
)
NO_NAME = Advice(
    code=AdviceCode.NO_NAME,
    detail=(
        "The result has no column called name, so the entities have no name. Name a column as name_column, or call "
        "one so in the query: AS name."
    ),
)


def advice(connector: ConnectorSettings, at: datetime, *, last_pull: bool) -> Iterator[Advice]:
    """What is known without a connection. `last_pull` is whether the query says `:last_pull`; `at` is now."""
    if not last_pull:
        yield NO_LAST_PULL
    if connector.watch is not None:
        if connector.watch.cursor_column is not None:
            yield Advice(
                code=AdviceCode.WATCH_IS_CHEAPER,
                detail=(
                    "Each look of the watch runs the connector's whole query. A watch.query on the same table, that "
                    "an index answers, is cheaper: the greatest value of "
                    f"{connector.watch.cursor_column!r} alone."
                ),
            )
    elif connector.schedule is not None:
        first = connector.schedule.next_after(at)
        if connector.schedule.next_after(first) - first <= OFTEN:
            yield Advice(
                code=AdviceCode.WATCH_IS_CHEAPER,
                detail=(
                    "The schedule pulls often, whether or not anything has changed. A watch on the same table is "
                    "cheaper: it looks at one row, and asks for a pull only if that has changed."
                ),
            )


def same_set(others: Sequence[str]) -> Iterator[Advice]:
    """`others` are the names of other connectors that fill the same entity set with the same key."""
    if others:
        first = repr(others[0]) + (f" and {len(others) - 1} more" if len(others) > 1 else "")
        yield Advice(
            code=AdviceCode.SAME_SET,
            detail=(
                f"Another connector fills the same entity set with the same key: {first}. Of rows with one key the "
                "one that is pulled last wins. Give this one an entity_type of its own, unless that is meant."
            ),
        )
