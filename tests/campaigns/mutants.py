"""Lines that keep a store whole, each with what it would be without its care, and the tests that must notice."""

from dataclasses import dataclass

PULLS = "qanatix_pipelines/store/pulls.py"
CONNECTORS = "qanatix_pipelines/store/connectors.py"
LISTS = "qanatix_pipelines/store/connector_lists.py"
INGESTION = "qanatix_pipelines/store/ingestion.py"
UNCHANGED = "qanatix_pipelines/store/unchanged.py"
HEAPS = "qanatix_pipelines/store/heaps.py"
SHELVES = "qanatix_pipelines/store/shelves.py"
FILLING = "qanatix_pipelines/store/filling.py"
LEASES = "qanatix_pipelines/store/leases.py"
MERGE = "qanatix_pipelines/store/merge.py"
STAGED = "qanatix_pipelines/store/staged.py"
TALLY = "qanatix_pipelines/store/tally.py"
ENTITY_SETS = "qanatix_pipelines/store/entity_sets.py"
ENGINE = "qanatix_pipelines/store/engine.py"
PULL = "qanatix_pipelines/pull.py"
READING = "qanatix_pipelines/reading.py"
LIMITS = "qanatix_pipelines/limits.py"
WATERMARKS = "qanatix_pipelines/watermarks.py"
ENTITIES = "qanatix_pipelines/store/entities.py"
KEYS = "qanatix_pipelines/store/keys.py"
REPEATED = "qanatix_pipelines/store/repeated.py"
REJECTIONS = "qanatix_pipelines/store/rejections.py"
SCHEDULES = "qanatix_pipelines/store/schedules.py"
WATCHES = "qanatix_pipelines/store/watches.py"
MYSQL_SESSION = "qanatix_pipelines/sources/mysql/session.py"
MYSQL_ZONE = "qanatix_pipelines/sources/mysql/zone.py"
MYSQL_QUERY = "qanatix_pipelines/sources/mysql/query.py"
MYSQL_VALUES = "qanatix_pipelines/sources/mysql/values.py"
_HISTORY = "tests/test_history.py::"

# PostgreSQL's clock is asked for, then whose transactions are seen; then the snapshot is begun.
_ASKED = (
    "            ends, reached, notices = await _ask(connection, statement, window, strong_accounts=strong_accounts)\n"
)
_SIGHT = (
    "            waits = window.rows is not None and statement.asks_for(NAME) and not window.integer\n"
    "            sight = sight_of(await connection.fetchval(UNSEEN), dsn.user) if waits else None\n"
)
_BEGUN = "            await connection.execute(reading(version, notices={}))\n"


@dataclass(frozen=True)
class Mutant:
    """`text` stands in `file` exactly once; with `replacement` in its place one of `tests` must fail."""

    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


def _store(test: str, kind: str = "sqlite", also: str = "") -> tuple[str, ...]:
    """A test of test_store.py, on a store of that kind, with what is `also` in its parameters."""
    return (f"tests/test_store.py::{test}[{kind}{also}]",)


def _tenants(test: str) -> tuple[str, ...]:
    """A test of test_tenants.py on SQLite, or on no store."""
    return (f"tests/test_tenants.py::{test}",)


def _pull(test: str) -> tuple[str, ...]:
    return (f"tests/test_pull.py::{test}[sqlite]",)


def _due(test: str) -> tuple[str, ...]:
    return (f"tests/test_due_connectors.py::{test}[sqlite]",)


def _progress(test: str) -> tuple[str, ...]:
    return (f"tests/test_progress.py::{test}[sqlite]",)


def _repeated(test: str) -> tuple[str, ...]:
    return (f"tests/test_repeated_keys.py::{test}[sqlite]",)


def _rejections(test: str) -> tuple[str, ...]:
    return (f"tests/test_rejections.py::{test}[sqlite]",)


def _mariadb(test: str) -> tuple[str, ...]:
    """A test of MySQL's own, on MariaDB."""
    return (f"tests/sources/mysql/test_{test}",)


def _watermarks(test: str) -> tuple[str, ...]:
    return (f"tests/test_watermarks.py::{test}",)


MUTANTS = (
    # The fence
    Mutant(
        "an attempt's writes do not ask which attempt runs",
        PULLS,
        "running = tables.pull.update().where(_is(receipt), ",
        "running = tables.pull.update().where(tables.pull.c.id == receipt.id, ",
        _store("TestAttempts::test_what_is_left_of_an_attempt_can_write_nothing_while_the_next_runs", also="-stage"),
    ),
    Mutant(
        "an attempt's writes do not ask whether the pull runs",
        PULLS,
        "where(_is(receipt), tables.pull.c.status == PullStatus.RUNNING)",
        "where(_is(receipt))",
        _store("TestChanges::test_a_running_pull_is_given_up"),
    ),
    Mutant(
        "a run that was launched while its pull was cancelled goes on",
        PULLS,
        "return _error_code(transaction, pull_id) != PullCancelled.code",
        "return True",
        (_HISTORY + "TestCancelling::test_a_run_that_comes_late_is_told_that_its_pull_is_cancelled[sqlite]",),
    ),
    Mutant(
        "a cancelled run is told that another took over",
        PULLS,
        "PullCancelled() if _error_code(transaction, pull_id) == PullCancelled.code else PullSuperseded()",
        "PullSuperseded()",
        (_HISTORY + "TestCancelling::test_a_cancelled_pull_can_do_nothing_more_and_is_told_why[sqlite-renew]",),
    ),
    Mutant(
        "a page begins with the last of the one before",
        "qanatix_pipelines/store/pages.py",
        "sa.tuple_(of.created_at, of.id) < _bound(table, cursor)",
        "sa.tuple_(of.created_at, of.id) <= _bound(table, cursor)",
        (_HISTORY + "TestPages::test_pulls_of_one_instant_are_each_on_one_page[sqlite]",),
    ),
    Mutant(
        "a batch is staged without the fence",
        INGESTION,
        "            pass_fence(transaction, self._receipt, lease_until=lease(), **read)\n",
        "            pass\n",
        _store("TestIngestion::test_a_superseded_pull_can_do_nothing_more", also="-stage"),
    ),
    Mutant(
        "the last words of any attempt end the pull",
        PULLS,
        "end_live(transaction, _is(receipt), error, duration_seconds)",
        "end_live(transaction, tables.pull.c.id == receipt.id, error, duration_seconds)",
        _store("TestAttempts::test_the_last_words_of_a_dead_attempt_do_not_end_the_next"),
    ),
    # Progress
    Mutant(
        "what was read is not told",
        INGESTION,
        "lease_until=lease(), **read)",
        "lease_until=lease())",
        _progress("test_each_batch_that_is_staged_is_told_at_once"),
    ),
    Mutant(
        "a source that is read again counts on",
        INGESTION,
        "lease_until=lease(), records_read=0, bytes_read=0\n",
        "lease_until=lease()\n",
        _progress("test_where_the_source_is_read_again_it_begins_anew"),
    ),
    Mutant(
        "the next attempt counts on",
        PULLS,
        "                    records_read=0,\n                    bytes_read=0,\n",
        "",
        _progress("test_another_attempt_begins_anew"),
    ),
    # One pull at a time
    Mutant(
        "the index of live pulls is not unique",
        "qanatix_pipelines/store/migrations/versions/0001_first_tables.py",
        "        unique=True,\n        schema=SCHEMA,\n        sqlite_where=live,",
        "        schema=SCHEMA,\n        sqlite_where=live,",
        _store("TestReceipts::test_a_connector_has_one_live_pull"),
    ),
    Mutant(
        "a pull that is alive is given up for the next",
        PULLS,
        "(tables.pull.c.connector_id == connector_id) & (tables.pull.c.lease_until < now())",
        "(tables.pull.c.connector_id == connector_id)",
        _store("TestReceipts::test_a_connector_has_one_live_pull"),
    ),
    Mutant(
        "a pull is claimed twice",
        PULLS,
        ".where(queued, tables.pull.c.status == PullStatus.QUEUED)",
        ".where(queued)",
        _store("TestReceipts::test_a_queued_pull_is_claimed_once"),
    ),
    Mutant(
        "a pull is queued without the connector's lock",
        PULLS,
        "known.with_for_update(read=True)",
        "known",
        _store("TestReceipts::test_a_connector_that_is_being_removed_is_not_pulled_any_more", kind="postgresql"),
    ),
    # Attempts
    Mutant(
        "an attempt that gave a sign meanwhile is given up",
        PULLS,
        "unchanged = _is(receipt) & (tables.pull.c.lease_until == receipt.lease_until)",
        "unchanged = _is(receipt)",
        _store("TestAttempts::test_an_attempt_that_gave_a_sign_meanwhile_goes_on"),
    ),
    Mutant(
        "a dead attempt leaves what it staged",
        HEAPS,
        "for pull_id, attempt in found - live:",
        "for pull_id, attempt in live - found:",
        _store("TestAttempts::test_a_dead_attempt_leaves_nothing_staged", "postgresql"),
    ),
    Mutant(
        "attempts have no end",
        PULLS,
        "last = receipt.attempt >= ATTEMPTS",
        "last = False",
        _store("TestAttempts::test_the_third_dead_attempt_is_the_last"),
    ),
    Mutant(
        "a commit on SQLite does not give back the time in which the others could give no sign",
        INGESTION,
        "            lengthen(transaction, held_since)",
        "            pass",
        _store("TestIngestion::test_on_sqlite_a_commit_gives_back_the_time_in_which_nobody_could_give_a_sign"),
    ),
    Mutant(
        "a commit on SQLite renews a dead pull's lease",
        LEASES,
        " & (pull.lease_until >= held_since)",
        "",
        _store("TestIngestion::test_on_sqlite_a_commit_gives_back_the_time_in_which_nobody_could_give_a_sign"),
    ),
    Mutant(
        "a run begins with a connector that was changed since it was read",
        PULLS,
        "if generation != connector.generation or claimed.rowcount == 0:",
        "if claimed.rowcount == 0:",
        _store("TestChanges::test_a_run_that_read_the_connector_before_its_change_does_not_begin"),
    ),
    Mutant(
        "changed credentials reach a pull of the old query",
        CONNECTORS,
        "where(self._is(connector.id), table.generation == connector.generation)",
        "where(self._is(connector.id))",
        _store("TestChanges::test_changed_credentials_do_not_reach_a_pull_of_the_old_query"),
    ),
    Mutant(
        "another database is read from where the last one was left",
        CONNECTORS,
        '(identity_digest is None or identity_digest != row["place"])',
        "identity_digest is None",
        _store("TestChanges::test_credentials_for_another_database_begin_last_pull_anew"),
    ),
    Mutant(
        "a change lets a running pull go on",
        CONNECTORS,
        "            if void:\n                end_live(",
        "            if False:\n                end_live(",
        _store("TestChanges::test_a_running_pull_is_given_up"),
    ),
    Mutant(
        "a deletion lets a running pull go on",
        CONNECTORS,
        "            transaction.execute(tables.connector.delete().where(self._is(connector_id)))\n"
        "            end_live(transaction, tables.pull.c.connector_id == connector_id, PullSuperseded())\n",
        "            transaction.execute(tables.connector.delete().where(self._is(connector_id)))\n",
        _store("TestIngestion::test_a_pull_of_a_removed_connector_ingests_nothing"),
    ),
    # The commit
    Mutant(
        "rows that vanished from the staging are not missed",
        SHELVES,
        "if not heaps.holds(transaction, self.heap, self.rows):",
        "if False:",
        _store("TestIngestion::test_staged_rows_that_vanish_stop_the_commit", "postgresql"),
    ),
    Mutant(
        "the watermark commits before the rows",
        INGESTION,
        "                with shelf.transaction() as transaction:\n                    self._committing",
        "                with self._engine.begin() as transaction:\n"
        "                    here = tables.connector.c.id == self._connector.id\n"
        "                    transaction.execute(tables.connector.update().where(here).values(watermark=watermark))\n"
        "                with shelf.transaction() as transaction:\n                    self._committing",
        _store("TestChanges::test_a_running_pull_is_given_up"),
    ),
    Mutant(
        "an integer goes back",
        INGESTION,
        "watermark = max(kept, watermark)",
        "pass",
        _store("TestIngestion::test_an_integer_never_goes_back"),
    ),
    Mutant(
        "of rows with one id the first counts",
        STAGED,
        "of.row.desc()",
        "of.row.asc()",
        _store("TestIngestion::test_of_rows_with_one_id_the_last_counts"),
    ),
    Mutant(
        "rows as they are kept count as ingested",
        MERGE,
        "        where=kept.digest != excluded.digest,\n",
        "",
        _store("TestIngestion::test_rows_as_they_are_kept_are_duplicates"),
    ),
    Mutant(
        "a row as it is kept is left out though one with its key was staged before it",
        UNCHANGED,
        "if is_same and not self._staged[at >> 3] & 1 << (at & 7):",
        "if is_same:",
        ("tests/test_unchanged.py::test_a_row_as_it_is_kept_counts_after_a_changed_one[sqlite]",),
    ),
    Mutant(
        "a row with the id of an entity is taken for unchanged",
        UNCHANGED,
        ' & (asked["low"] == nearest["low"])',
        "",
        ("tests/test_unchanged.py::test_all_of_a_digest_is_compared[sqlite]",),
    ),
    Mutant(
        "two pulls make the table of one set",
        FILLING,
        "        attach = not leaves.exists(transaction, number)  # another pull may have made it meanwhile\n",
        "",
        _store(
            "TestAttempts::test_of_two_first_pulls_into_a_set_the_second_is_compared_with_the_first",
            "postgresql",
            "-large0",
        ),
    ),
    Mutant(
        "a batch whose answer was lost is staged over itself",
        SHELVES,
        "                if again:\n",
        "                if False:\n",
        _store("TestIngestion::test_a_batch_whose_answer_was_lost_is_staged_once", "postgresql"),
    ),
    Mutant(
        "a commit whose answer was lost is taken for failed",
        INGESTION,
        "if again and (completed := self._receipts.completed(self._receipt)) is not None:",
        "if (completed := None) is not None:",
        _store("TestIngestion::test_a_commit_whose_answer_was_lost_has_completed", "postgresql"),
    ),
    Mutant(
        "every rejected row of a pull is kept",
        TALLY,
        "batch.rejections[: ROWS_KEPT - len(self.rejections)]",
        "batch.rejections",
        _rejections("TestKept::test_a_receipt_counts_all_by_reason_and_a_thousand_are_kept"),
    ),
    Mutant(
        "rejected rows are kept of every pull",
        REJECTIONS,
        "    transaction.execute(rejections_of(receipt.connector_id).where(older))\n",
        "",
        _rejections("TestKept::test_the_last_ten_pulls_that_rejected_rows_are_kept_of_each_connector"),
    ),
    Mutant(
        "rejected rows outlive their connector",
        CONNECTORS,
        "            transaction.execute(rejections_of(connector_id))\n",
        "",
        _rejections("TestKept::test_they_go_with_their_connector"),
    ),
    Mutant(
        "rejected rows are told whosever they are",
        REJECTIONS,
        "where(of.tenant == self.tenant, of.pull_id == pull_id, of.row > after)",
        "where(of.pull_id == pull_id, of.row > after)",
        _rejections("TestKept::test_another_tenants_are_not_there"),
    ),
    Mutant(
        "of rows that were left out nothing is counted",
        UNCHANGED,
        "if is_there and self._left_out[kept]:",
        "if False:",
        _repeated("TestCounted::test_any_pulls_in_any_batches_are_counted_by_the_rule"),
    ),
    Mutant(
        "rows that gave way to others are not counted",
        MERGE,
        "if ingested < rows else Repeated()",
        "if ingested < 0 else Repeated()",
        _repeated("TestCounted::test_any_pulls_in_any_batches_are_counted_by_the_rule"),
    ),
    Mutant(
        "rows that are alike count as one",
        REPEATED,
        "sa.case((rows.content != rows.last, rows.alike), else_=0)",
        "sa.case((rows.content != rows.last, 1), else_=0)",
        _repeated("TestCounted::test_any_pulls_in_any_batches_are_counted_by_the_rule"),
    ),
    # Where a pull starts
    Mutant(
        "nothing is read again",
        WATERMARKS,
        "return EARLIEST + max(reach - timedelta(seconds=self.overlap), timedelta(0))",
        "return EARLIEST + max(reach, timedelta(0))",
        _watermarks("test_the_overlap_is_taken_off_the_watermark"),
    ),
    Mutant(
        "no number is read again",
        WATERMARKS,
        "return self.watermark - self.overlap",
        "return self.watermark",
        _watermarks("test_an_integer_s_overlap_is_a_count"),
    ),
    Mutant(
        "a clock that was set back is not followed",
        WATERMARKS,
        "reach = min(self.watermark - EARLIEST, clock - EARLIEST - passed)",
        "reach = self.watermark - EARLIEST",
        _watermarks("test_after_the_clock_was_set_back_it_is_where_the_last_pull_must_have_been_by_that_clock"),
    ),
    Mutant(
        "the time between two pulls does not count",
        WATERMARKS,
        "self.started(clock, self.elapsed + ",
        "self.started(clock, ",
        _watermarks("test_after_the_clock_was_set_back_it_is_where_the_last_pull_must_have_been_by_that_clock"),
    ),
    Mutant(
        "the time until the clock is read does not count",
        WATERMARKS,
        "self.elapsed + timedelta(seconds=time.monotonic() - self._made)",
        "self.elapsed",
        _watermarks("test_what_passes_before_the_sources_clock_is_read_counts_too"),
    ),
    Mutant(
        "PostgreSQL's clock is read after the snapshot",
        "qanatix_pipelines/sources/postgresql/reading.py",
        _ASKED + _SIGHT + _BEGUN.format("notices"),
        _BEGUN.format("False") + _ASKED + _SIGHT,
        (
            "tests/sources/postgresql/test_reading.py::TestLastPull::test_what_was_committed_before_the_clock_was_read_is_seen",
        ),
    ),
    Mutant(
        "what is raised on a connection that was ended is final",
        "qanatix_pipelines/sources/network.py",
        "    if closed:\n",
        "    if False:\n",
        ("tests/test_lost_connections.py::test_a_connection_that_breaks_between_two_batches_may_be_made_again",),
    ),
    Mutant(
        "the first pull of MongoDB's begins with the zero of other systems",
        "qanatix_pipelines/sources/mongodb/placeholders.py",
        "return bounds[value].compared if operator in _ORDERS else bounds[value].otherwise",
        "return bounds[value].otherwise",
        ("tests/sources/mongodb/test_reading.py::test_the_first_pull_sees_every_date_but_the_least_of_all",),
    ),
    Mutant(
        "the first pull of MySQL's computes with a time of which the server makes null",
        MYSQL_QUERY,
        "return alone.match(after) is not None",
        "return True",
        ("tests/sources/mysql/test_reading.py::test_the_first_pull_sees_every_row_that_has_a_time",),
    ),
    Mutant(
        "a result of Neo4j's that was cut short is whole",
        "qanatix_pipelines/sources/neo4j/reading.py",
        "result_consumed_after is None",
        "result_consumed_after is ...",
        (
            "tests/test_lost_connections.py::test_a_connection_that_the_server_ends_between_two_batches_may_be_made_again",
        ),
    ),
    Mutant(
        "a text that cannot be converted is empty",
        "qanatix_pipelines/sources/postgresql/encodings.py",
        "faults.append(place)",
        "pass",
        (
            "tests/sources/postgresql/test_encodings.py::test_of_no_encoding_what_is_utf_8_is_read_and_what_is_not_is_its_rows_fault",
        ),
    ),
    Mutant(
        "a strong account is not refused",
        "qanatix_pipelines/sources/postgresql/reading.py",
        "raise AccountTooStrong(excess)",
        "pass",
        ("tests/test_accounts.py::test_a_refused_query_has_not_run",),
    ),
    Mutant(
        "a strong account that is allowed may name any function",
        "qanatix_pipelines/sources/postgresql/query.py",
        "    if named:\n",
        "    if not text:\n",
        ("tests/test_accounts.py::test_a_postgresql_superuser_who_is_allowed_must_not_name_a_volatile_function",),
    ),
    Mutant(
        "a full refresh starts where the last pull did",
        "qanatix_pipelines/windows.py",
        "if extent.full_refresh or connector.watermark is None:",
        "if connector.watermark is None:",
        _pull("TestLastPull::test_a_full_refresh_reads_everything_and_moves_on_from_there"),
    ),
    Mutant(
        "a pull of a part moves the watermark",
        INGESTION,
        "watermark = None if self._receipt.extent.partial else watermark",
        "watermark = watermark",
        _pull("TestParts::test_integers_are_bound_as_they_were_given"),
    ),
    Mutant(
        "what a caller said where to begin is taken for a watermark",
        WATERMARKS,
        "        if self.exact:\n",
        "        if self.exact and False:\n",
        _pull("TestParts::test_a_window_is_bound_as_it_was_given"),
    ),
    Mutant(
        "of numbers the last batch's counts",
        "qanatix_pipelines/cursors.py",
        "self.greatest = found if self.greatest is None else max(self.greatest, found)",
        "self.greatest = found",
        _pull("TestIntegerCursors::test_the_greatest_number_in_any_order_is_kept"),
    ),
    # One pull
    Mutant(
        "what a failed reading staged stays",
        READING,
        "        await asyncio.to_thread(restart)\n",
        "",
        _pull("TestFaults::test_what_only_a_failed_reading_saw_is_not_ingested"),
    ),
    Mutant(
        "every fault is tried again",
        READING,
        "if not error.transient or pause is None:",
        "if pause is None:",
        _pull("TestFaults::test_a_fault_that_does_not_pass_is_not_tried_again"),
    ),
    Mutant(
        "a refused login may pass",
        "qanatix_pipelines/sources/postgresql/faults.py",
        '_TRANSIENT = ("08", ',
        '_TRANSIENT = ("08", "28", ',
        ("tests/test_faults.py::test_what_does_not_pass_in_postgresql",),
    ),
    Mutant(
        "an answer may take as long as a pull",
        LIMITS,
        "asyncio.timeout(min(left, limits.answer_seconds))",
        "asyncio.timeout(left)",
        _pull("TestDeadlines::test_a_source_that_does_not_answer_is_given_up"),
    ),
    Mutant(
        "a pull may take for ever",
        LIMITS,
        "asyncio.timeout(min(left, limits.answer_seconds))",
        "asyncio.timeout(limits.answer_seconds)",
        _pull("TestDeadlines::test_a_source_that_always_has_a_little_more_is_given_up"),
    ),
    Mutant(
        "a pull sends no heartbeat",
        PULL,
        "await asyncio.to_thread(ingestion.renew)",
        "pass",
        _pull("TestHeartbeat::test_a_pull_that_was_given_up_stops_its_reading"),
    ),
    Mutant(
        "a pull that was given up reads on",
        PULL,
        "                reader.cancel()\n",
        "",
        _pull("TestHeartbeat::test_a_pull_that_was_given_up_stops_its_reading"),
    ),
    Mutant(
        "a cancelled pull commits",
        INGESTION,
        "        self._cancelled = True\n        if",
        "        if",
        _pull("test_a_pull_that_is_cancelled_while_it_commits_ingests_nothing"),
    ),
    # Tenants
    Mutant(
        "a connector is found whosever it is",
        CONNECTORS,
        "(tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)",
        "tables.connector.c.id == connector_id",
        _tenants("TestConnectors::test_anothers_is_not_found[sqlite]"),
    ),
    Mutant(
        "everybody's connectors are listed",
        LISTS,
        ".where(table.tenant == tenant)\n",
        "\n",
        _tenants("TestConnectors::test_anothers_is_not_listed[sqlite]"),
    ),
    Mutant(
        "everybody's last pulls are told",
        LISTS,
        "        .where(connector.tenant == tenant)\n",
        "",
        _tenants("TestConnectors::test_anothers_pulls_are_not_told[sqlite]"),
    ),
    Mutant(
        "a pull is queued for anybody's connector",
        PULLS,
        "(tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)",
        "tables.connector.c.id == connector_id",
        _tenants("TestConnectors::test_anothers_is_not_found[sqlite]"),
    ),
    Mutant(
        "a receipt is found whosever it is",
        PULLS,
        "query.where(tables.pull.c.tenant == self.tenant)",
        "query",
        _tenants("TestPulls::test_anothers_are_not_found[sqlite]"),
    ),
    Mutant(
        "an entity is found whosever it is",
        ENTITIES,
        "query = query.where(kept.tenant == self.tenant, kept.entities > 0)",
        "query = query.where(kept.entities > 0)",
        _tenants("TestEntities::test_anothers_are_not_there[sqlite]"),
    ),
    Mutant(
        "everybody's entities are counted",
        ENTITIES,
        "            kept.tenant == self.tenant, kept.vertical == vertical",
        "            kept.vertical == vertical",
        _tenants("TestEntities::test_anothers_are_not_there[sqlite]"),
    ),
    Mutant(
        "a set's count is of its last pull only",
        ENTITY_SETS,
        "entities=kept.c.entities + entities",
        "entities=entities",
        ("tests/test_entity_sets.py::test_only_new_entities_are_counted[sqlite]",),
    ),
    Mutant(
        "a changed entity is counted again",
        ENTITY_SETS,
        "leaf.own, entity.created_at == made.created_at, ",
        "leaf.own, ",
        ("tests/test_entity_sets.py::test_only_new_entities_are_counted[sqlite]",),
    ),
    Mutant(
        "a key is found, rotated and revoked whosever it is",
        KEYS,
        "(tables.api_key.c.id == key_id) & (tables.api_key.c.tenant == self.tenant)",
        "tables.api_key.c.id == key_id",
        _tenants("TestKeys::test_anothers_is_not_found[sqlite]"),
    ),
    Mutant(
        "everybody's keys are listed",
        KEYS,
        ".where(table.c.tenant == self.tenant)",
        "",
        _tenants("TestKeys::test_anothers_are_not_listed[sqlite]"),
    ),
    Mutant(
        "the API works for the tenant default, whoever calls",
        "qanatix_api/services.py",
        "return shared.of(key.tenant)",
        "return shared",
        _tenants("TestApi::test_a_key_makes_what_is_its_tenants"),
    ),
    Mutant(
        "credentials decrypt in any tenant's row",
        "qanatix_pipelines/credentials.py",
        '(sealed.get("tenant", DEFAULT), sealed.get(purpose)) != (tenant, str(owner_id))',
        "sealed.get(purpose) != str(owner_id)",
        _tenants("TestConnectors::test_a_row_that_was_given_to_another_tenant_does_not_decrypt[sqlite]"),
    ),
    # Secrets
    Mutant(
        "credentials decrypt in any connector's row",
        "qanatix_pipelines/credentials.py",
        '(sealed.get("tenant", DEFAULT), sealed.get(purpose)) != (tenant, str(owner_id))',
        'sealed.get("tenant", DEFAULT) != tenant',
        _store("TestConnectors::test_a_ciphertext_swapped_with_another_connectors_is_unreadable"),
    ),
    Mutant(
        "a store is opened with any key",
        KEYS,
        "    if not is_ours(kept):\n",
        "    if False:\n",
        _store("TestChecks::test_a_store_refuses_an_encryption_key_that_is_not_its_own"),
    ),
    Mutant(
        "a fault of ours is told in its own words",
        PULL,
        "end(PullBroken(type(error).__name__))",
        "end(PullBroken(repr(error)))",
        _pull("TestFaults::test_a_fault_of_ours_is_told_by_its_kind_alone"),
    ),
    Mutant(
        "what is deleted stays in SQLite's pages",
        ENGINE,
        '"secure_delete = ON"',
        '"secure_delete = OFF"',
        ("tests/test_erasure.py::test_of_deleted_connectors",),
    ),
    Mutant(
        "what is deleted stays in SQLite's log",
        CONNECTORS,
        "        self.erasure.begin()\n        return connector",
        "        return connector",
        ("tests/test_erasure.py::test_of_deleted_connectors",),
    ),
    Mutant(
        "a log that could not be emptied is forgotten",
        "qanatix_pipelines/store/erasure.py",
        "                self._thread.start()\n",
        "                self._thread = None\n",
        ("tests/test_erasure.py::test_a_reader_holds_up_no_deletion_and_it_is_done_once_the_reader_ends",),
    ),
    Mutant(
        "a rotation writes over what was changed meanwhile",
        "qanatix_pipelines/store/rotation.py",
        "sa.and_(table.c.id == stale.connector.id, table.c.credentials == stale.token)",
        "table.c.id == stale.connector.id",
        ("tests/test_rotation.py::test_a_change_that_is_made_meanwhile_stays[sqlite]",),
    ),
    Mutant(
        "a log tells what an exception says",
        "qanatix_api/logs.py",
        "        record.exc_info = None\n",
        "        record.exc_text = None\n",
        ("tests/test_tracebacks.py::test_a_fault_of_the_api_is_logged_without_its_text",),
    ),
    # What is pulled by itself
    Mutant(
        "a connector is moved on that was moved on already",
        SCHEDULES,
        " & (_connector.next_due_at == due.due_at)",
        "",
        _due("TestSchedules::test_moving_on_happens_once"),
    ),
    Mutant(
        "a connector is due while its pull runs",
        SCHEDULES,
        ".where(_connector.next_due_at <= at, NOT_PULLED)",
        ".where(_connector.next_due_at <= at)",
        _due("TestSchedules::test_whose_pull_is_in_progress_is_due_once_it_has_ended"),
    ),
    Mutant(
        "a paused connector stays due",
        SCHEDULES,
        "connector.schedule is None or connector.paused",
        "connector.schedule is None",
        _due("TestSchedules::test_paused_it_is_not_due_and_resumed_from_now_on"),
    ),
    Mutant(
        "a connector is moved on though its run was not submitted",
        "qanatix_pipelines/defs/requests.py",
        " if run.status is not DagsterRunStatus.NOT_STARTED",
        "",
        ("tests/test_schedules_sensor.py::test_a_run_that_was_created_and_not_submitted_is_asked_for_again",),
    ),
    Mutant(
        "a run that waits is not known",
        "qanatix_pipelines/defs/schedules.py",
        "if one.partition_key in queued:",
        "if one.partition_key is None:",
        ("tests/test_schedules_sensor.py::test_while_a_run_waits_no_second_one_is_asked_for",),
    ),
    Mutant(
        "a partition goes from under a backfill",
        "qanatix_pipelines/defs/sensors.py",
        "- registered[connector_type] - kept:",
        "- registered[connector_type]:",
        ("tests/test_definitions.py::test_a_partition_stays_while_an_unfinished_backfill_names_it",),
    ),
    Mutant(
        "a run that comes to a deleted connector fails",
        "qanatix_pipelines/defs/assets.py",
        "if _exists(opened, context.partition_key):",
        "if True:",
        ("tests/test_definitions.py::test_a_pull_of_a_deleted_connector_is_skipped_with_a_sentence",),
    ),
    Mutant(
        "a run goes from under its backfill",
        "qanatix_pipelines/defs/retention.py",
        "record.dagster_run.tags.get(BACKFILL_ID_TAG) in backfills or ",
        "",
        ("tests/test_retention.py::test_a_run_stays_until_its_backfill_is_over",),
    ),
    Mutant(
        "a variable is read by a field's own name",
        "qanatix_pipelines/settings.py",
        '"populate_by_name": False',
        '"populate_by_name": True',
        ("tests/test_settings.py::test_a_variable_is_read_by_its_documented_name_alone",),
    ),
    Mutant(
        "a store that is not there is made to be looked at",
        "qanatix_pipelines/store/migrations/__init__.py",
        'if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():',
        "if False:",
        ("tests/test_definitions.py::test_without_the_store_there_are_no_entity_sets_and_no_error",),
    ),
    Mutant(
        "what comes back to what it was is no change",
        WATCHES,
        "watch_asked=None, watch_changes=asked.change)",
        "watch_asked=None)",
        _due("TestWatches::test_what_comes_back_to_what_it_was_is_a_change_of_its_own"),
    ),
    Mutant(
        "a look that was begun before a change is kept",
        WATCHES,
        "            & (_connector.next_look_at == due.due_at)\n",
        "",
        _due("TestWatches::test_a_look_that_was_begun_before_a_change_is_not_kept"),
    ),
    # MySQL's and MariaDB's sessions
    Mutant(
        "a server's limit of rows is left",
        MYSQL_SESSION,
        'first = ["sql_select_limit", "sql_big_selects", ',
        'first = ["sql_big_selects", ',
        _mariadb("settings.py::test_what_is_asked_first_is_not_cut_either[start_mariadb]"),
    ),
    Mutant(
        "a time that is said twice is taken for the later",
        MYSQL_ZONE,
        "offsets.append(None)",
        "offsets.append(change.offset)",
        _mariadb("settings.py::test_the_hour_that_is_said_twice_stays_local_time[start_mariadb]"),
    ),
    Mutant(
        "the last pull is UTC for local time as well",
        MYSQL_QUERY,
        "else min(utc, zone.least(utc))",
        "else utc",
        _mariadb("last_pull.py::test_no_row_that_is_later_is_missed[America/New_York-start_mariadb]"),
    ),
    Mutant(
        "bits that may be digits are read",
        MYSQL_VALUES,
        "if field.flags & _BINARY if tables is None else field.table not in tables:",
        "if False:",
        _mariadb("columns.py::test_bits_that_may_be_digits_are_refused_with_what_to_write"),
    ),
)

# The lines that the guarantees rest on. Each run of the suite goes through these, the long form through all.
CORE = frozenset(
    {
        "an attempt's writes do not ask which attempt runs",
        "a batch is staged without the fence",
        "the index of live pulls is not unique",
        "a pull is claimed twice",
        "an attempt that gave a sign meanwhile is given up",
        "a run begins with a connector that was changed since it was read",
        "a change lets a running pull go on",
        "a deletion lets a running pull go on",
        "the watermark commits before the rows",
        "an integer goes back",
        "a row as it is kept is left out though one with its key was staged before it",
        "rows that vanished from the staging are not missed",
        "nothing is read again",
        "a clock that was set back is not followed",
        "PostgreSQL's clock is read after the snapshot",
        "every fault is tried again",
        "a pull sends no heartbeat",
        "a connector is found whosever it is",
        "credentials decrypt in any connector's row",
    }
)
