"""What the test of a connector says of a result: its columns, its key and name, `:last_pull`, and what it costs."""

from collections.abc import Sequence
from typing import NamedTuple

from qanatix_pipelines.accounts import Account
from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.reports import CheckStatus
from qanatix_pipelines.row_keys import Roles
from qanatix_pipelines.samples import Sample
from qanatix_pipelines.tls import Tls

# A pull that sorts, or reads whole, a table of more rows than this is worth an index or another query.
# How many tables a sentence names.
_SHOWN_TABLES = 10
LARGE_ROWS = 100_000
_PASSED, _WARNED, _SKIPPED = CheckStatus.PASSED, CheckStatus.WARNED, CheckStatus.SKIPPED


class Verdict(NamedTuple):
    """How a check went that did not fail."""

    status: CheckStatus
    detail: str


def of_tls(tls: Tls, *, near: bool, file: bool) -> Verdict:
    """`tls` is what the config demands. `near` says that the source is on the machine where pulls run."""
    if file:
        return Verdict(_SKIPPED, "It is a file: nothing is sent over a network.")
    match tls:
        case "verified":
            return Verdict(_PASSED, "The connection is encrypted, and the certificate is this host's.")
        case "encrypted":
            return Verdict(
                _PASSED if near else _WARNED,
                "The connection is encrypted, but it is not checked to whom: somebody in between could read along. "
                "Demand a certificate of this host in connection_config, as docs/security.md shows.",
            )
        case "none" if near:
            return Verdict(_SKIPPED, "The source is on the machine where pulls run, so TLS is not needed.")
        case "none":
            return Verdict(
                _WARNED,
                "Nothing is encrypted: whoever is in between reads the password's proof and all rows. Demand TLS in "
                "connection_config, as docs/security.md shows.",
            )


def of_account(account: Account, *, overlap: int, strong: bool, file: bool) -> Verdict:
    """`overlap` is the connector's, in seconds. `strong` says that the operator allows accounts of any right."""
    if file:
        return Verdict(_SKIPPED, "A file has no accounts.")
    sight = account.sight
    if sight is not None and sight.remedy is not None:
        return Verdict(
            _WARNED,
            "The account cannot see how long the transactions of others are open. If one is open for more than "
            f"{overlap:,} seconds (the overlap), rows that it writes may be missed. {sight.remedy} Or set `overlap` to "
            "more seconds than any transaction takes.",
        )
    if strong:
        judged = "Its rights are not judged, as the operator has set"
    elif account.rights_told:
        judged = "It has no right that is too strong"
    else:
        judged = "The server does not say what it may do, so its rights are not judged"
    sees = ", and it sees the open transactions of others" if sight is not None else ""
    return Verdict(_PASSED, f"{judged}{sees}.")


def of_columns(sample: Sample) -> Verdict:
    if sample.rejections:
        counted = f"{len(sample.rejections)} of the {_rows(sample.rows)} of the sample would be rejected"
        return Verdict(_WARNED, f"{counted}: {sample.rejections[0].reason.sentence} See `rejected`.")
    if sample.known:
        return Verdict(_PASSED, f"The result has {_counted(len(sample.columns), 'column')}.")
    if not sample.rows:
        return Verdict(_SKIPPED, "There is no row, and each row has columns of its own.")
    several = _counted(len(sample.columns), "column")
    return Verdict(_PASSED, f"Each row has columns of its own. Those of the sample have {several}.")


def of_key(sample: Sample, roles: Roles) -> Verdict:
    if not sample.known and not sample.rows:
        return Verdict(_SKIPPED, "There is no row, so it is not known which columns there are.")
    if roles.key is None:
        return Verdict(
            _WARNED, "The result has no key, so each change of a row is a new entity. Name one as id_column."
        )
    if sample.keyless:
        return Verdict(
            _WARNED,
            f"In {_rows(sample.keyless)} of the sample {roles.key!r} is null. Each change of such a row is a new "
            "entity. Leave these rows out, or name a column as id_column that is never null.",
        )
    missing = sum(one.reason is Reason.KEY_MISSING for one in sample.rejections)
    if missing:
        return Verdict(
            _WARNED,
            f"{_rows(missing)} of the sample would be rejected, because {roles.key!r} is null there. Name a column as "
            "id_column that is never null.",
        )
    repeated = sample.repeated
    if repeated:
        return Verdict(
            _WARNED,
            f"{roles.key!r} does not tell rows apart: {_rows(repeated)} of the sample share their key with a row that "
            "is different, and only the last one of a key counts. Name a column that tells them apart as id_column.",
        )
    seen = f"is unique in the {_rows(sample.rows)} of the sample" if sample.rows else "has no rows to be unique in"
    return Verdict(_PASSED, f"The key is {roles.key!r}, and {seen}.")


def of_name(sample: Sample, roles: Roles, named: str | None) -> Verdict:
    missing = sum(one.reason is Reason.NAME_MISSING for one in sample.rejections)
    if missing:
        return Verdict(
            _WARNED,
            f"{_rows(missing)} of the sample would be rejected, because {named!r} is null or blank there. Leave "
            "name_column out if names may be missing.",
        )
    if roles.name is not None:
        return Verdict(_PASSED, f"The name is {roles.name!r}.")
    if not sample.known and not sample.rows:
        return Verdict(_SKIPPED, "There is no row, so it is not known which columns there are.")
    return Verdict(
        _WARNED, "No column is called 'name', so the entities have no name. Name a column as name_column if one is."
    )


def of_last_pull(expected: Expected, *, used: bool) -> Verdict:
    if not used:
        return Verdict(
            _WARNED,
            "The query does not say :last_pull, so each pull reads everything. Compare it with a column that each "
            "change sets.",
        )
    types = " and ".join(expected.last_pull_types)
    compared = f"It is compared with {types}." if types else "It is used."
    if expected.foreign_types:
        foreign = " and ".join(expected.foreign_types)
        return Verdict(
            _WARNED,
            f"{compared} Of {foreign} that is never true, and no error: such rows are not pulled. Compare it with "
            "something of the type that docs/sources.md says it has.",
        )
    plan = expected.plan
    if plan is None:
        return Verdict(_PASSED, compared)
    if plan.index is not None:
        return Verdict(_PASSED, f"{compared} The index {plan.index!r} serves that.")
    large = _large(plan)
    if large:
        return Verdict(
            _WARNED,
            f"{compared} No index serves that, so each pull reads all of {_told(large)}. Make one on the column that "
            "it is compared with.",
        )
    return Verdict(_PASSED, f"{compared} No index serves that. For so few rows none is needed.")


def of_cost(expected: Expected, *, used: bool) -> Verdict:
    plan = expected.plan
    if plan is None:
        return Verdict(_SKIPPED, "The source tells nothing of it without running the query.")
    rows = "an unknown number of rows" if plan.rows is None else f"about {_rows(plan.rows)}"
    if plan.sorts and (plan.rows is None or plan.rows > LARGE_ROWS):
        return Verdict(
            _WARNED,
            f"The source sorts {rows} before the first one comes. A pull needs no order: leave ORDER BY out, or make "
            "an index that has it.",
        )
    large = _large(plan)
    if large and used and plan.index is None:
        return Verdict(
            _WARNED,
            f"The whole result has {rows}, and each pull reads all of {_told(large)}. Make an index on the column that "
            ":last_pull is compared with.",
        )
    whole = f", and reads all of {_told(plan.whole)}" if plan.whole else ""
    return Verdict(_PASSED, f"A first pull has {rows}{whole}, as the source's planner estimates.")


def _large(plan: Plan) -> Sequence[Scanned]:
    """The large tables that are read whole. One of unknown size has about as many rows as the result, at the least."""
    return [one for one in plan.whole if ((plan.rows or 0) if one.rows is None else one.rows) > LARGE_ROWS]


def _told(scanned: Sequence[Scanned]) -> str:
    more = len(scanned) - _SHOWN_TABLES
    told = [repr(one.table) + ("" if one.rows is None else f" (about {_rows(one.rows)})") for one in scanned]
    return " and ".join([*told[:_SHOWN_TABLES], *([f"{more:,} more"] if more > 0 else [])])


def _rows(count: int) -> str:
    return _counted(count, "row")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
