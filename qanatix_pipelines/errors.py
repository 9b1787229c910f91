"""Every error of this project, sorted by who must act next.

QanatixError
├── SettingsError               the operator corrects an environment variable
├── StoreNotReady               the operator runs `qanatix migrate`
├── StoreUnavailable            the caller tries again once the store is back
│   └── StoreFull               the operator frees disk space
├── NotFound                    the caller asks for something that exists
├── InvalidConnector            the caller corrects the request
├── OrchestratorUnavailable     the caller tries again once Dagster is back
├── PullFinished                nobody: there is nothing left to cancel
└── PullError                   a pull ended without ingesting anything
    ├── SourceError             the caller corrects the connector, or the database it names
    │   ├── SourceUnreachable
    │   ├── AddressRefused      (or the operator opens the network, by QANATIX_ALLOW_NETWORKS)
    │   ├── LoginRefused
    │   ├── AccountTooStrong    (or the operator allows it, by QANATIX_ALLOW_STRONG_ACCOUNTS)
    │   ├── TlsFailed
    │   ├── QueryRejected
    │   ├── ResultUnusable
    │   │   └── ColumnMissing
    │   ├── SourceTimeout
    │   └── SourceFailed
    ├── MergeTimeout            the operator gives it more time, by QANATIX_MERGE_SECONDS
    ├── CredentialsUnreadable   the caller registers the connector again, or the operator brings the key back
    ├── PullInProgress          the caller waits for the pull that is running
    ├── PullNotStarted          the caller tries again once Dagster is back
    ├── PullNotBegun            the operator reads the run's log
    ├── PullSuperseded          nobody: another pull took over, or the connector was changed or deleted
    ├── PullCancelled           nobody: somebody cancelled it
    ├── StagingLost             nobody: the pull reads its source again
    ├── PullLost                the operator looks for the crashed runs: the pull was begun several times
    ├── WrongStore              the operator gives the API and Dagster the same store
    ├── PullBroken              the operator reads the run's log: the fault is ours
    └── WatchBroken             the operator reads the daemon's log: the fault is ours

A pull's receipt stores a `PullError` as its `code` and its sentence. Neither may ever repeat what a driver or a server
said, because that may contain a password, an address or a row.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

# A document may have any number of fields, with names of any length: this is how much of them a sentence shows.
_NAMES, _NAME_LENGTH = 20, 64


class QanatixError(Exception):
    """The root of the tree above."""

    sentence: ClassVar[str]  # the message of a class whose message is always the same

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(self.sentence if sentence is None else sentence)


class SettingsError(QanatixError):
    """An environment variable is missing or wrong. Names the variable, never its value."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} {problem}")


class StoreNotReady(QanatixError):
    """The store's tables have the form of another release, or do not exist."""

    sentence = "The store's tables are not those of this release: run `qanatix migrate`, of the newest release in use."


class StoreUnavailable(QanatixError):
    """The store cannot be reached, or is locked. `reason` is for its operator and is never sent to a caller."""

    code: ClassVar[str] = "store_unavailable"
    sentence = "The store does not answer. Nothing was changed; try again later."

    def __init__(self, reason: str | None = None) -> None:
        super().__init__()
        self.reason = reason


class StoreFull(StoreUnavailable):
    """The store's disk has no room."""

    code = "store_full"
    sentence = "The store's disk is full, or nearly so. Nothing was changed; its operator must make room."


class NotFound(QanatixError):
    """It does not exist, or belongs to another tenant."""

    code: ClassVar[str] = "not_found"

    def __init__(self, noun: str) -> None:
        self.noun = noun
        super().__init__(f"There is no such {noun}.")


class InvalidConnector(QanatixError):
    """One field of a connector, or of a request about it, is wrong. `field` is its path below the request's `part`."""

    def __init__(self, field: tuple[str, ...], problem: str, part: Literal["body", "path"] = "body") -> None:
        self.field, self.part = field, part
        super().__init__(problem)


class OrchestratorUnavailable(QanatixError):
    """Dagster could not be reached, or would not start a run."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"Dagster could not start the pull: {problem}. Nothing was pulled; try again later.")


class PullFinished(QanatixError):
    """A pull cannot be cancelled: it has completed or failed, as `status` says."""

    code: ClassVar[str] = "pull_finished"

    def __init__(self, pull_id: object, run_id: str | None, status: str) -> None:
        self.pull_id, self.run_id = pull_id, run_id
        super().__init__(f"The pull has {status} already: there is nothing to cancel.")


class PullError(QanatixError):
    """A pull ended without ingesting anything."""

    code: ClassVar[str] = "pull_failed"
    # Whether the cause may pass by itself, so that another try a moment later may succeed.
    transient: bool = False


class SourceError(PullError):
    """The database failed, or the connector does not fit it. If `transient`, the same pull may succeed when retried."""

    code = "source_failed"

    def __init__(self, sentence: str | None = None, *, transient: bool = False) -> None:
        super().__init__(sentence)
        self.transient = transient


class SourceUnreachable(SourceError):
    code = "source_unreachable"


class AddressRefused(SourceError):
    """The egress rules refuse the source's address. The sentence does not tell the address, nor what answers there."""

    code = "address_refused"
    sentence = (
        "The connector's host is in a network that is not open to pulls. The operator opens it with "
        "QANATIX_ALLOW_NETWORKS."
    )


class LoginRefused(SourceError):
    code = "login_refused"


class AccountTooStrong(SourceError):
    """The account has a right that no pull needs and a query could use. `right` continues "The connector's account"."""

    code = "account_too_strong"

    def __init__(self, right: str) -> None:
        super().__init__(
            f"The connector's account {right}, which a query could use. Nothing was read. Register an account that may "
            "only read what the query reads, as docs/security.md shows; or the operator allows strong accounts with "
            "QANATIX_ALLOW_STRONG_ACCOUNTS."
        )


class TlsFailed(SourceError):
    code = "tls_failed"


class QueryRejected(SourceError):
    code = "query_rejected"


class ResultUnusable(SourceError):
    """The query runs, but its columns cannot become entities."""

    code = "result_unusable"


class ColumnMissing(ResultUnusable):
    """The result lacks the column that the connector's `option` names."""

    def __init__(self, named: str, option: str, columns: Iterable[str]) -> None:
        self.option = option
        names = [repr(name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "…") for name in columns]
        listed = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
        super().__init__(
            f"The query's result has no column {named!r}, which the connector's {option} names. "
            f"Its columns are {listed}."
        )


class SourceTimeout(SourceError):
    code = "source_timeout"


class SourceFailed(SourceError):
    code = "source_failed"


class MergeTimeout(PullError):
    code = "merge_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"To merge what was read into the store took longer than {seconds:g} seconds and was given up. "
            "QANATIX_MERGE_SECONDS sets how long it may take."
        )


class CredentialsUnreadable(PullError):
    code = "credentials_unreadable"
    sentence = (
        "The connector's credentials cannot be decrypted with the keys in CONNECTOR_ENCRYPTION_KEY. If the key was "
        "changed, restart what has the old one: Dagster's processes and the worker read it when they start. "
        "Otherwise bring the key back that encrypted them, or register the connector again."
    )


class PullInProgress(PullError):
    code = "pull_in_progress"

    def __init__(self, pull_id: object, run_id: str | None = None) -> None:
        self.pull_id, self.run_id = pull_id, run_id
        super().__init__(f"The connector's pull {pull_id} is still in progress. Wait for its end, or cancel it.")


class PullNotStarted(PullError):
    code = "pull_not_started"

    def __init__(self, reason: OrchestratorUnavailable) -> None:
        super().__init__(str(reason))


class PullNotBegun(PullError):
    """A run that was started in Dagster failed before it began its pull."""

    code = "pull_not_begun"
    sentence = "The run failed before its pull began; it says why. Nothing was pulled."


class PullSuperseded(PullError):
    code = "pull_superseded"
    sentence = (
        "The pull was given up: its connector was changed or deleted, or another pull took over. Nothing was ingested."
    )


class PullCancelled(PullError):
    code = "pull_cancelled"
    sentence = "The pull was cancelled. Nothing was ingested."


class StagingLost(PullError):
    """The staged rows are gone: PostgreSQL empties an unlogged table when it recovers from a crash."""

    code = "staging_lost"
    transient = True
    sentence = "The store lost the rows that were staged. Nothing was ingested; try again."


class PullLost(PullError):
    code = "pull_lost"
    sentence = "The pull's runs ended without a result: their processes were stopped. Nothing was ingested."


class WrongStore(PullError):
    """The pull's run succeeded and did not begin it, as a run does that finds no such connector in its store."""

    code = "wrong_store"
    sentence = (
        "The pull's run found no such connector: Dagster's code uses another store than the API. Nothing was pulled. "
        "The operator gives both the same QANATIX_STORE_URL, or the same QANATIX_DATA_DIR for SQLite. If Dagster has "
        "several code locations with our code, QANATIX_CODE_LOCATION names the one for the API."
    )


class PullBroken(PullError):
    code = "pull_broken"

    def __init__(self, kind: str) -> None:
        super().__init__(f"The pull broke on a fault of its own ({kind}). Nothing was ingested; its run says where.")


class WatchBroken(PullError):
    code = "watch_broken"

    def __init__(self, kind: str) -> None:
        super().__init__(f"The watch broke on a fault of its own ({kind}).")
