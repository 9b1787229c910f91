"""Each failure of a source is told with what to do next: whatever its code, of each database."""

from collections.abc import Iterator

import pytest

from qanatix_pipelines import connector_tests
from qanatix_pipelines.errors import AccountTooStrong, AddressRefused, ColumnMissing, QueryRejected, SourceError
from qanatix_pipelines.next_steps import with_next_step
from qanatix_pipelines.sources.mongodb import faults as mongodb
from qanatix_pipelines.sources.mysql import faults as mysql
from qanatix_pipelines.sources.neo4j import faults as neo4j
from qanatix_pipelines.sources.postgresql import faults as postgresql
from qanatix_pipelines.sources.postgresql.query import FunctionRefused
from qanatix_pipelines.sources.sqlite import faults as sqlite
from qanatix_pipelines.sources.sqlite.frames import Why
from tests.reported import ASKS

# No code of the server's: it fails in a way of which we know nothing.
UNKNOWN = 54321


def failures() -> Iterator[tuple[str, SourceError]]:
    """One for each code that is known of a database, with a place in the query and without, and for one that is not."""
    for place in ("", " at line 1, column 8, 'id' in \"SELECT id\""):
        for code in (*mongodb._MEANINGS, *mongodb._REASONS, mongodb._UNKNOWN, UNKNOWN, 9999, None):
            yield f"MongoDB {code}{place}", mongodb.explained(code, place)
        for number in (*mysql._MEANINGS, *mysql._REASONS, UNKNOWN, 0):
            yield f"MySQL {number}{place}", mysql.explained(number, "HY000", place)
        for state in mysql._BY_STATE:
            yield f"MySQL {state}{place}", mysql.explained(UNKNOWN, f"{state}000", place)
        for status in (*neo4j._MEANINGS, "ClientError.Statement.SyntaxError", "DatabaseError"):
            yield f"Neo4j {status}{place}", neo4j.explained(f"Neo.{status}", place)
        states = (*postgresql._MEANINGS, *postgresql._REASONS, *postgresql._WITHOUT_PLACE, "42501", "ZZ999")
        for state in states:
            yield f"PostgreSQL {state}{place}", postgresql.explained(state, "a condition", place)
        for code in (*sqlite._MEANINGS, 99):
            for reason in ("", *sqlite._REASONS.values()):
                yield f"SQLite {code}{place}{reason}", sqlite.explained(code, place, reason)
    for why in Why:
        yield f"SQLite {why}", sqlite.fault({"why": why}, lambda: None)  # type: ignore[arg-type, return-value]


FAILURES = dict(failures())


def test_each_code_of_each_database_says_what_to_do_next() -> None:
    told = {name: with_next_step(error) for name, error in FAILURES.items()}

    assert {name: sentence for name, sentence in told.items() if not ASKS.search(sentence)} == {}
    assert all(sentence.endswith(".") for sentence in told.values())


def kinds(kind: type[SourceError]) -> Iterator[type[SourceError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from kinds(one)


# Those that say more than they are given.
OWN: dict[type[SourceError], SourceError] = {
    AddressRefused: AddressRefused(),
    ColumnMissing: ColumnMissing("no_such", "id_column", ["id"]),
    FunctionRefused: FunctionRefused("is a superuser", ["no_such"]),
}


@pytest.mark.parametrize("kind", sorted(set(kinds(SourceError)), key=lambda kind: kind.__name__))
def test_each_kind_of_failure_says_what_to_do_next(kind: type[SourceError]) -> None:
    error = OWN.get(kind) or kind("It is so.")

    assert ASKS.search(with_next_step(error)), with_next_step(error)


def test_what_says_it_itself_is_told_as_it_is() -> None:
    assert with_next_step(AddressRefused()) == AddressRefused.sentence
    assert with_next_step(AccountTooStrong("may do everything")) == str(AccountTooStrong("may do everything"))


@pytest.mark.parametrize("words", ['"WHERE a = 1, check"', "'x. See'"])
def test_words_of_the_query_do_not_count(words: str) -> None:
    assert with_next_step(QueryRejected(f"The source rejected {words}.")).endswith(" Correct the query.")


def test_each_step_that_took_too_long_says_what_to_do_next() -> None:
    for sentence in connector_tests._SLOW.values():
        assert ASKS.search(sentence), sentence
