"""What may be tried again: closed lists, by what each database calls it."""

import pickle
import socket
import ssl

import pytest

from qanatix_pipelines.errors import LoginRefused, SourceError, SourceTimeout, SourceUnreachable
from qanatix_pipelines.sources.mongodb import faults as mongodb
from qanatix_pipelines.sources.mysql import faults as mysql
from qanatix_pipelines.sources.neo4j import faults as neo4j
from qanatix_pipelines.sources.network import connection_lost, network_fault
from qanatix_pipelines.sources.postgresql import faults as postgresql


def test_an_error_may_pass_only_where_that_is_said() -> None:
    assert not SourceError.transient
    assert not LoginRefused("The source refused the user.").transient
    assert SourceUnreachable("The source is away.", transient=True).transient


def test_an_error_that_goes_to_another_process_still_says_whether_it_may_pass() -> None:
    error = pickle.loads(pickle.dumps(SourceUnreachable("The source is away.", transient=True)))

    assert (str(error), error.transient) == ("The source is away.", True)


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        ConnectionAbortedError(),
        BrokenPipeError(),
        TimeoutError(),
        OSError(113, "No route to host"),
        OSError("Multiple exceptions: [Errno 111] ..., [Errno 111] ..."),  # asyncio's, of a host with two addresses
    ],
    ids=repr,
)
def test_a_network_that_fails_may_pass(cause: OSError) -> None:
    fault = network_fault(cause, 10)

    assert isinstance(fault, SourceUnreachable)
    assert fault.transient


@pytest.mark.parametrize(
    "cause",
    [socket.gaierror(-2, "Name or service not known"), UnicodeError(), ssl.SSLError(), ssl.SSLCertVerificationError()],
    ids=repr,
)
def test_a_name_that_is_no_hosts_and_tls_do_not_pass(cause: Exception) -> None:
    assert not network_fault(cause, 10).transient


def test_a_connection_that_is_lost_may_pass_and_our_own_deadline_does_not() -> None:
    assert connection_lost().transient
    assert not SourceTimeout("It took too long.").transient


@pytest.mark.parametrize(
    "state", ["08000", "08003", "25P03", "40001", "40P01", "53300", "57P01", "57P02", "57P03", "57P05"]
)
def test_what_passes_in_postgresql(state: str) -> None:
    assert postgresql.explained(state, "some condition").transient


@pytest.mark.parametrize(
    "state", ["", "28P01", "28000", "3D000", "42P01", "22012", "25006", "25P04", "57014", "57P04", "XX000"]
)
def test_what_does_not_pass_in_postgresql(state: str) -> None:
    assert not postgresql.explained(state, "some condition").transient


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (1040, "08004"),
        (1053, "08S01"),
        (1160, "08S01"),
        (1203, "42000"),
        (1205, "HY000"),
        (1213, "40001"),
        (1927, "70100"),
        (2006, "HY000"),
        (2013, "HY000"),
        (3169, "HY000"),
        (0, "08S01"),
    ],
)
def test_what_passes_in_mysql(number: int, state: str) -> None:
    assert mysql.explained(number, state).transient


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (1045, "28000"),
        (1049, "42000"),
        (1064, "42000"),
        (1146, "42S02"),
        (1226, "42000"),
        (1251, "08004"),  # a way to log in, though its class says connection
        (1317, "70100"),
        (1792, "25006"),
        (1969, "70100"),
        (3024, "HY000"),
        (3159, "HY000"),
        (0, ""),
    ],
)
def test_what_does_not_pass_in_mysql(number: int, state: str) -> None:
    assert not mysql.explained(number, state).transient


def test_a_function_that_may_not_be_called_may_be_misspelt() -> None:
    sentence = str(mysql.explained(1370, "42000", " at 'lenght'"))

    assert "check how it is spelt; if it is right, the connector's user has no right to call it: grant" in sentence


@pytest.mark.parametrize(
    "code", [6, 7, 24, 43, 89, 91, 112, 134, 189, 239, 262, 9001, 10107, 11600, 11602, 13435, 13436]
)
def test_what_passes_in_mongodb(code: int) -> None:
    assert mongodb.explained(code).transient


@pytest.mark.parametrize("code", [None, 1, 2, 11, 13, 18, 50, 237, 8000, 11601, 51_024])
def test_what_does_not_pass_in_mongodb(code: object) -> None:
    assert not mongodb.explained(code).transient


@pytest.mark.parametrize(
    "code",
    [
        "Neo.TransientError.Database.DatabaseUnavailable",
        "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
        "Neo.TransientError.Request.NoThreadsAvailable",
        "Neo.TransientError.Transaction.DeadlockDetected",
        "Neo.TransientError.Something.New",
    ],
)
def test_what_passes_in_neo4j(code: str) -> None:
    assert neo4j.explained(code, "").transient


@pytest.mark.parametrize(
    "code",
    [
        "",
        "Neo.ClientError.Security.Unauthorized",
        "Neo.ClientError.Statement.SyntaxError",
        "Neo.ClientError.Transaction.Terminated",
        "Neo.ClientError.Transaction.TransactionTimedOut",
        "Neo.DatabaseError.General.UnknownError",
        "Neo.TransientError.Transaction.LockClientStopped",
        "Neo.TransientError.Transaction.Terminated",
    ],
)
def test_what_does_not_pass_in_neo4j(code: str) -> None:
    assert not neo4j.explained(code, "").transient


def test_no_word_of_the_server_is_in_an_error_that_may_pass() -> None:
    assert "secretive" not in str(neo4j.explained("Neo.TransientError.secretive", "secretive"))
