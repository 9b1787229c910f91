"""The test of a connector. It connects as a pull would, reads a few rows, and says how each step went.

It takes exactly a pull's road: the same loop with the same egress rules, the same source, the same way from rows to
entities. So what it finds is what a pull would find. Each connection that it opens logs in: a server may count one that
is closed before that as an attack.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from socket import socket
from typing import Any

from qanatix_pipelines.accounts import ORDINARY, Account
from qanatix_pipelines.advice import NO_KEY, NO_NAME, advice
from qanatix_pipelines.batches import Expected, Named, Reading
from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.cursors import Cursor
from qanatix_pipelines.egress import Egress, GuardedLoop, run_guarded
from qanatix_pipelines.entities import maker_of
from qanatix_pipelines.errors import (
    AccountTooStrong,
    AddressRefused,
    ColumnMissing,
    LoginRefused,
    QueryRejected,
    ResultUnusable,
    SourceError,
    TlsFailed,
)
from qanatix_pipelines.next_steps import with_next_step
from qanatix_pipelines.reports import ROWS, Advice, Check, CheckName, CheckStatus, ConnectorTest
from qanatix_pipelines.row_keys import UNKNOWN
from qanatix_pipelines.samples import Sample
from qanatix_pipelines.sources import check_config
from qanatix_pipelines.sources.source import Source, Stage
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.verdicts import (
    Verdict,
    of_account,
    of_columns,
    of_cost,
    of_key,
    of_last_pull,
    of_name,
    of_tls,
)
from qanatix_pipelines.watermarks import Window

# For everything up to the last row. To close the connection has its own limit.
SECONDS = 10

# How much longer a server may go on whose query nobody can end any more: our own limit, which says why, comes first.
_GRACE_SECONDS = 5

# What an error belongs to, by its class. Any other belongs to the step that was not over.
_CHECK_OF: dict[type[SourceError], CheckName] = {
    AddressRefused: CheckName.ADDRESS,
    TlsFailed: CheckName.TLS,
    LoginRefused: CheckName.LOGIN,
    AccountTooStrong: CheckName.ACCOUNT,
    QueryRejected: CheckName.QUERY,
}
_CHECK_OF_OPTION = {"id_column": CheckName.KEY, "name_column": CheckName.NAME, "cursor_column": CheckName.LAST_PULL}
_CHECK_OF_STAGE = {Stage.LOGIN: CheckName.LOGIN, Stage.ACCOUNT: CheckName.ACCOUNT, Stage.QUERY: CheckName.QUERY}
# What to do if it was here that the source did not answer in time.
_SLOW = {
    CheckName.ADDRESS: (
        "The name server of the machine where pulls run had not answered by then. Check the host's name, or give its "
        "address."
    ),
    CheckName.REACHABLE: "Check its host and its port, and that no firewall between drops what is sent.",
    CheckName.LOGIN: "Something listens at its host and port. Check that it is a server of this type.",
    CheckName.ACCOUNT: "It accepted the login. See whether the server is busy.",
    CheckName.QUERY: (
        "It did not begin the query's result. A pull waits longer, for QANATIX_ANSWER_SECONDS; but see what the query "
        "sorts, groups or joins, and whether an index serves its conditions."
    ),
    CheckName.COLUMNS: (
        "It took the query and gave too few rows by then. A pull waits longer, for QANATIX_ANSWER_SECONDS; but see "
        "whether an index serves the query's conditions."
    ),
}
_FILE = "It is a file of the machine where pulls run"


def run_test(
    connector: ConnectorSettings,
    connection_config: Mapping[str, Any],
    open_source: Callable[[Mapping[str, Any]], Source],
    egress: Egress,
    *,
    rows: int = ROWS,
    seconds: float = SECONDS,
) -> ConnectorTest:
    """Test a connector whose config and query `check_connector` has passed. At most `rows` rows are read.

    What fails is in the report. An exception is a fault of ours, but for those of `open_source`.
    """
    trial = _Trial(connector, connection_config, open_source(connection_config))
    run_guarded(trial.run(rows, seconds), egress, _NotingLoop)
    return trial.report()


class _NotingLoop(GuardedLoop):
    """A loop that notes when a permitted address was first connected to, and when that was done.

    `near` says that it was an address of this machine itself.
    """

    tried_at: float | None = None
    connected_at: float | None = None
    near = False

    def judge(self, connecting: socket, address: object) -> None:
        super().judge(connecting, address)
        if self.tried_at is None and isinstance(address, tuple):
            self.tried_at = time.monotonic()
            self.near = ip_address(address[0]).is_loopback

    async def sock_connect(self, sock: socket, address: Any) -> None:
        await super().sock_connect(sock, address)
        if self.connected_at is None:
            self.connected_at = time.monotonic()


class _Trial:
    """One test, while it is made."""

    def __init__(self, connector: ConnectorSettings, config: Mapping[str, Any], source: Source) -> None:
        self._connector, self._source = connector, source
        self._tls = check_config(connector.connector_type, config).tls
        self._uses_last_pull = source.check_query(connector.query).last_pull
        self._checks: dict[CheckName, Check] = {}
        self._at = time.monotonic()  # when the last check was over
        self._over: dict[CheckName, float] = {}  # when each step was
        self._judging_cursor = False
        self._account = ORDINARY
        self._sample = Sample()
        self._roles = UNKNOWN

    async def run(self, rows: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _NotingLoop)  # noqa: S101  # `run_test` made it
        try:
            async with asyncio.timeout(seconds) as clock:
                await self._read(loop, rows)
        except TimeoutError:
            if not clock.expired():
                raise
            self._note_opening(loop)
            check = self._current(loop)
            self._fail(check, f"The source did not answer within {seconds:g} seconds. {_SLOW[check]}")
        except SourceError as error:
            self._note_opening(loop)
            if loop.refused:
                self._fail(CheckName.ADDRESS, AddressRefused.sentence)
            else:
                self._fail(self._check_of(loop, error), with_next_step(error))

    def report(self) -> ConnectorTest:
        failed = next((name for name in CheckName if self._status(name) is CheckStatus.FAILED), None)
        left = "Not tried." if failed is None else f"Not tried, because {failed} failed."
        for name in CheckName:
            if name not in self._checks:
                self._add(name, Verdict(CheckStatus.SKIPPED, left))
        entities = self._sample.shown_entities()
        return ConnectorTest(
            ok=failed is None,
            checks=[self._checks[name] for name in CheckName],
            columns=self._sample.shown_columns(self._roles, self._connector.cursor_column, entities),
            sample=entities,
            rejected=self._sample.shown_rejections(),
            warnings=self._warnings(),
        )

    async def _read(self, loop: _NotingLoop, rows: int) -> None:
        connector, source = self._connector, self._source
        source.passed = self._pass
        source.named = Named(connector.id_column, connector.name_column or Named.name, connector.cursor_column)
        window = Window(
            overlap=connector.effective_overlap,
            integer=connector.cursor_column is not None,
            rows=rows,
            seconds=SECONDS + _GRACE_SECONDS,
        )
        async with source.read(connector.query, window=window, batch_size=rows) as reading:
            for stage in Stage:
                self._pass(stage)
            expected = reading.expected or Expected()
            self._note_opening(loop)
            await self._take(reading, rows)
        self._note_result()
        self._add(CheckName.LAST_PULL, of_last_pull(expected, used=self._uses_last_pull))
        self._add(CheckName.COST, of_cost(expected, used=self._uses_last_pull))

    async def _take(self, reading: Reading, rows: int) -> None:
        """Make entities of the rows, as a pull does."""
        sample, maker = self._sample, maker_of(self._connector, reading)
        cursor = Cursor(self._connector.cursor_column and reading.spelled(self._connector.cursor_column))
        if reading.columns is not None:
            sample.known = True
            sample.columns = {column.name: column for column in reading.columns}
            maker.check(reading.columns)
            self._roles = maker.roles
        batches = aiter(reading.batches)
        while sample.rows < rows and (batch := await anext(batches, None)) is not None:
            sample.take(batch, maker.make(batch))
            self._roles = maker.roles
            self._judging_cursor = True
            cursor.see(batch)
            self._judging_cursor = False
        self._over[CheckName.COLUMNS] = time.monotonic()

    def _pass(self, stage: Stage, account: Account = ORDINARY, /) -> None:
        if stage is Stage.ACCOUNT and CheckName.ACCOUNT not in self._over:
            self._account = account
        self._over.setdefault(_CHECK_OF_STAGE[stage], time.monotonic())

    def _note_opening(self, loop: _NotingLoop) -> None:
        """The checks of the steps that are over, up to the query."""
        over, passed = self._over, CheckStatus.PASSED
        file = loop.tried_at is None
        tried_at, connected_at = (
            loop.tried_at or over.get(CheckName.LOGIN),
            loop.connected_at or over.get(CheckName.LOGIN),
        )
        if tried_at is not None:
            told = f"{_FILE}, in a folder that is open to pulls." if file else "Its network is open to pulls."
            self._add(CheckName.ADDRESS, Verdict(passed, told), tried_at)
        if connected_at is not None:
            told = f"{_FILE}, and it can be opened." if file else "A server listens at the host and port."
            self._add(CheckName.REACHABLE, Verdict(passed, told), connected_at)
            self._add(CheckName.TLS, of_tls(self._tls, near=loop.near, file=file))
        if CheckName.LOGIN in over:
            told = "A file asks for no login." if file else "The login was accepted."
            self._add(CheckName.LOGIN, Verdict(passed, told), over[CheckName.LOGIN])
        if CheckName.ACCOUNT in over:
            overlap, strong = self._connector.effective_overlap, self._source.strong_accounts
            verdict = of_account(self._account, overlap=overlap, strong=strong, file=file)
            self._add(CheckName.ACCOUNT, verdict, over[CheckName.ACCOUNT])
        if CheckName.QUERY in over:
            told = "The source takes the query, and runs it so that it can only read."
            self._add(CheckName.QUERY, Verdict(passed, told), over[CheckName.QUERY])

    def _note_result(self) -> None:
        self._add(CheckName.COLUMNS, of_columns(self._sample), self._over.get(CheckName.COLUMNS))
        self._add(CheckName.KEY, of_key(self._sample, self._roles))
        self._add(CheckName.NAME, of_name(self._sample, self._roles, self._connector.name_column))

    def _current(self, loop: _NotingLoop) -> CheckName:
        """The first step that is not over."""
        if CheckName.LOGIN not in self._over:
            if loop.tried_at is None:
                return CheckName.ADDRESS
            return CheckName.REACHABLE if loop.connected_at is None else CheckName.LOGIN
        steps = (CheckName.ACCOUNT, CheckName.QUERY)
        return next((step for step in steps if step not in self._over), CheckName.COLUMNS)

    def _check_of(self, loop: _NotingLoop, error: SourceError) -> CheckName:
        match error:
            case ColumnMissing():
                return _CHECK_OF_OPTION[error.option]
            case ResultUnusable():
                return CheckName.LAST_PULL if self._judging_cursor else CheckName.COLUMNS
        return next((check for kind, check in _CHECK_OF.items() if isinstance(error, kind)), self._current(loop))

    def _fail(self, check: CheckName, detail: str) -> None:
        """Note the check that failed. What is known of those before it is told, and nothing of those after it."""
        if check is CheckName.LAST_PULL:
            self._note_result()
        elif check in (CheckName.KEY, CheckName.NAME):
            self._add(CheckName.COLUMNS, of_columns(self._sample))
        self._add(check, Verdict(CheckStatus.FAILED, detail), time.monotonic())
        order = list(CheckName)
        for later in order[order.index(check) + 1 :]:
            self._checks.pop(later, None)

    def _add(self, name: CheckName, verdict: Verdict, at: float | None = None) -> None:
        """Keep a check, which was over at the time `at`."""
        seconds = None if at is None else round(max(0.0, at - self._at), 4)
        self._at = self._at if at is None else at
        self._checks[name] = Check(name=name, status=verdict.status, detail=verdict.detail, seconds=seconds)

    def _status(self, name: CheckName) -> CheckStatus | None:
        return self._checks[name].status if name in self._checks else None

    def _warnings(self) -> list[Advice]:
        found = list(advice(self._connector, now(), last_pull=self._uses_last_pull))
        if self._status(CheckName.KEY) is CheckStatus.WARNED and self._roles.key is None:
            found.append(NO_KEY)
        if self._status(CheckName.NAME) is CheckStatus.WARNED and self._roles.name is None:
            found.append(NO_NAME)
        return found
