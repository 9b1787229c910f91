"""An account that may do more than read is refused before its query runs, and what it may do is said in our words."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from qanatix_pipelines.errors import AccountTooStrong, QueryRejected
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.neo4j import account as neo4j_account
from qanatix_pipelines.sources.source import Stage
from qanatix_pipelines.watermarks import Window
from tests.reported import report_of, statuses
from tests.servers import Server, new_password
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mongodb.server import Engine, start_engine, start_gateway
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute, parts
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.postgresql import server as postgresql

QUERY = "SELECT 1 AS id"


def rows(connector_type: str, config: dict[str, Any], query: str, *, strong_accounts: bool = False) -> int:
    async def read() -> int:
        source = open_source(connector_type, config, strong_accounts=strong_accounts)
        async with source.read(query, window=Window(), batch_size=10) as reading:
            return sum([batch.frame.height async for batch in reading.batches])

    return asyncio.run(read())


def stages(connector_type: str, config: dict[str, Any], query: str) -> list[Stage]:
    """What is over when the account is refused."""
    over: list[Stage] = []

    async def opened() -> None:
        source = open_source(connector_type, config)
        source.passed = lambda stage, _sight=None: over.append(stage)
        async with source.read(query, window=Window(), batch_size=10):
            pass

    with pytest.raises(AccountTooStrong):
        asyncio.run(opened())
    return over


# PostgreSQL

Role = Callable[..., dict[str, Any]]


@pytest.fixture
def role(postgresql_server: Server) -> Iterator[Role]:
    """Make a role by statements in which {} is its name: the config of a connector that logs in as it."""
    made: list[str] = []
    owner = postgresql.superuser(postgresql_server.address)

    def make(*statements: str) -> dict[str, Any]:
        name, password = f"account_{uuid4().hex[:8]}", new_password()
        made.append(name)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
            for statement in statements:
                connection.execute(statement.format(name).encode())
        return {"dsn": f"postgresql://{name}:{password}@{postgresql_server.address.rpartition('@')[2]}"}

    yield make
    with psycopg.connect(owner, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.mark.parametrize(
    ("statement", "right"),
    [
        ("ALTER ROLE {} SUPERUSER", "is a superuser, or may become one"),
        ("GRANT postgres TO {}", "is a superuser, or may become one"),
        ("GRANT pg_execute_server_program TO {}", "may run programs on the source's machine"),
        ("GRANT pg_write_server_files TO {}", "may write files of the source's machine"),
        ("GRANT pg_read_server_files TO {}", "may read files of the source's machine"),
        ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {}", "may call functions that reach files"),
        ("GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO {}", "may call functions that reach files"),
        ("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {}", "may call functions that act on the source's server"),
        ("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {}", "may call functions that act on the source's server"),
        ("ALTER ROLE {} REPLICATION", "may make replication slots"),
        ("GRANT pg_signal_backend TO {}", "may end other users' sessions"),
    ],
)
def test_a_postgresql_role_with_more_than_reading_is_refused(role: Role, statement: str, right: str) -> None:
    with pytest.raises(AccountTooStrong, match=f"^The connector's account {right}"):
        rows("postgresql", role(statement), QUERY)


def test_a_postgresql_right_that_is_not_inherited_is_one_too_for_a_query_can_take_it_on(role: Role) -> None:
    member = role("ALTER ROLE {} NOINHERIT", "GRANT pg_write_server_files TO {}")

    with pytest.raises(AccountTooStrong, match="pg_write_server_files"):
        rows("postgresql", member, QUERY)


def test_a_postgresql_function_that_a_role_not_inherited_may_call_is_one_that_a_query_can_call(role: Role) -> None:
    holder = role("ALTER ROLE {} NOLOGIN", "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {}")
    name = holder["dsn"].partition("//")[2].partition(":")[0]
    member = role("ALTER ROLE {} NOINHERIT", f"GRANT {name} TO {{}}")

    with pytest.raises(AccountTooStrong, match="may call functions that reach files"):
        rows("postgresql", member, QUERY)


def test_dblink_is_refused_in_a_schema_that_only_a_role_not_inherited_may_use(role: Role, database: str) -> None:
    user = role("ALTER ROLE {} NOLOGIN")["dsn"].partition("//")[2].partition(":")[0]
    member = role("ALTER ROLE {} NOINHERIT", f"GRANT {user} TO {{}}")["dsn"].rpartition("/")[0]
    reader = f"{member}/{database.rpartition('/')[2]}"
    with psycopg.connect(postgresql.superuser(database), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_available_extensions WHERE name = 'dblink'").fetchone() is None:
            pytest.skip("this PostgreSQL has no dblink")
        connection.execute("CREATE SCHEMA private")
        connection.execute("CREATE EXTENSION dblink SCHEMA private")
        connection.execute(f"GRANT USAGE ON SCHEMA private TO {user}".encode())

        with pytest.raises(AccountTooStrong, match="may call dblink"):
            rows("postgresql", {"dsn": reader}, QUERY)
        connection.execute("DROP SCHEMA private CASCADE")


def test_a_postgresql_login_that_takes_on_another_role_is_judged_by_what_it_can_go_back_to(role: Role) -> None:
    login = role("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} SET role = 'pg_monitor'")

    with pytest.raises(AccountTooStrong, match="superuser"):
        rows("postgresql", login, QUERY)


def test_a_postgresql_role_that_only_reads_is_not_refused(role: Role) -> None:
    assert rows("postgresql", role("GRANT pg_read_all_stats TO {}"), QUERY) == 1


def test_a_postgresql_superuser_is_read_with_where_the_operator_allows_it(role: Role) -> None:
    assert rows("postgresql", role("ALTER ROLE {} SUPERUSER"), QUERY, strong_accounts=True) == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT nextval('counter') AS id", "nextval"),
        ("SELECT Set_Config('role', 'x', true) AS id, pg_stat_file('x')", "pg_stat_file, set_config"),
        ("SELECT ('/etc/passwd'::text).pg_read_file AS id", "pg_read_file"),
        ("SELECT 1 AS id /* pg_sleep */", "pg_sleep"),
        ("SELECT 'lo_export' AS id", "lo_export"),
        ('SELECT 1 AS "lo_export"', "lo_export"),
    ],
)
def test_a_postgresql_superuser_who_is_allowed_must_not_name_a_volatile_function(
    role: Role, query: str, named: str
) -> None:
    with pytest.raises(
        AccountTooStrong, match=f"^The connector's account is a superuser.* would stop: {named}\\. Noth"
    ):
        rows("postgresql", role("ALTER ROLE {} SUPERUSER"), query, strong_accounts=True)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("own", "OWN"),
        ('"Own"', 'public . "Own"'),
        ('"an own ""name"""', '"an own ""name"""'),
        ("o\u0308wn$1", "O\u0308WN$1"),
        ("o" * 63, "o" * 63 + "_cut_off"),
    ],
)
def test_a_volatile_function_of_the_sources_own_is_one_too(role: Role, database: str, name: str, called: str) -> None:
    strong = role("ALTER ROLE {} SUPERUSER")["dsn"].rpartition("/")[0] + f"/{database.rpartition('/')[2]}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE FUNCTION {name}() RETURNS int LANGUAGE sql AS 'SELECT 1'".encode())

    with pytest.raises(AccountTooStrong, match="functions that may do more than read"):
        rows("postgresql", {"dsn": strong}, f"SELECT {called}() AS id", strong_accounts=True)


def test_a_postgresql_superuser_who_is_allowed_must_not_write_a_name_with_escapes(role: Role) -> None:
    with pytest.raises(QueryRejected, match="with escapes"):
        rows("postgresql", role("ALTER ROLE {} SUPERUSER"), 'SELECT 1 AS u&"a"', strong_accounts=True)


def test_a_postgresql_superuser_who_is_allowed_may_name_what_is_harmless(role: Role) -> None:
    query = "SELECT gen_random_uuid()::text AS id, random(), clock_timestamp(), now(), upper('x')"

    assert rows("postgresql", role("ALTER ROLE {} SUPERUSER"), query, strong_accounts=True) == 1


@pytest.mark.parametrize("strong_accounts", [True, False])
def test_a_postgresql_role_that_only_reads_may_name_any_function(role: Role, *, strong_accounts: bool) -> None:
    assert rows("postgresql", role(), "SELECT pg_sleep(0)::text AS id", strong_accounts=strong_accounts) == 1


def test_dblink_is_refused_where_the_account_may_call_it(role: Role, database: str) -> None:
    place = database.rpartition("/")[2]
    reader = role()["dsn"].rpartition("/")[0] + f"/{place}"
    with psycopg.connect(postgresql.superuser(database), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_available_extensions WHERE name = 'dblink'").fetchone() is None:
            pytest.skip("this PostgreSQL has no dblink")
        connection.execute("CREATE EXTENSION dblink")
        with pytest.raises(AccountTooStrong, match="may call dblink"):
            rows("postgresql", {"dsn": reader}, QUERY)

        connection.execute("CREATE SCHEMA private; ALTER EXTENSION dblink SET SCHEMA private")

    assert rows("postgresql", {"dsn": reader}, QUERY) == 1


def test_a_refused_query_has_not_run(role: Role, postgresql_server: Server) -> None:
    strong = role("GRANT pg_signal_backend TO {}")
    with psycopg.connect(postgresql_server.address) as victim:
        with pytest.raises(AccountTooStrong):
            rows("postgresql", strong, f"SELECT pg_terminate_backend({victim.info.backend_pid}) AS gone")

        assert victim.execute("SELECT 1").fetchone() == (1,)


# MySQL


def mysql_user(server: Server, *statements: str) -> dict[str, Any]:
    name, password = f"account_{uuid4().hex[:8]}", new_password()
    user = f"{name}@'%'"
    execute(
        server.address,
        f"CREATE USER {user} IDENTIFIED BY '{password}'",
        *(statement.format(user) for statement in statements),
    )
    return parts(server.address) | {"user": name, "password": password, "database": "information_schema"}


@pytest.mark.parametrize(
    ("grant", "right"),
    [
        ("ALL ON *.*", "has all privileges on everything|may administer the source"),
        ("SUPER ON *.*", r"may administer the source \(SUPER\)"),
        ("SELECT, FILE, PROCESS ON *.*", r"may read and write files of the source's machine \(FILE\)"),
    ],
)
def test_a_mysql_user_with_more_than_reading_is_refused(mysql_server: Server, grant: str, right: str) -> None:
    config = mysql_user(mysql_server, f"GRANT {grant} TO {{}}")

    with pytest.raises(AccountTooStrong, match=f"^The connector's account ({right})"):
        rows("mysql", config, QUERY)


def test_a_mysql_role_that_is_active_counts(mysql_server: Server) -> None:
    name = f"files_{uuid4().hex[:8]}"
    default = "SET DEFAULT ROLE {0} FOR {1}" if "MariaDB" in mysql_server.version else "SET DEFAULT ROLE {0} TO {1}"
    config = mysql_user(
        mysql_server,
        f"CREATE ROLE {name}",
        f"GRANT FILE ON *.* TO {name}",
        f"GRANT {name} TO {{}}",
        default.format(name, "{}"),
    )

    with pytest.raises(AccountTooStrong, match="FILE"):
        rows("mysql", config, QUERY)


def test_a_mysql_user_of_one_database_is_not_refused(mysql_server: Server) -> None:
    config = mysql_user(mysql_server, "GRANT PROCESS ON *.* TO {}", "GRANT ALL ON `x ON *.* TO FILE`.* TO {}")

    assert rows("mysql", config, QUERY) == 1


def test_a_mysql_administrator_is_read_with_where_the_operator_allows_it(mysql_server: Server) -> None:
    assert rows("mysql", parts(mysql_server.address), QUERY, strong_accounts=True) == 1


def test_the_harness_user_of_mysql_is_none_of_these(mysql_server: Server) -> None:
    assert rows("mysql", MySQLHarness(mysql_server).config, QUERY) == 1


# MongoDB

EVERYWHERE = {"db": "", "collection": ""}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    running = start_engine()
    yield running
    running.stop()


@pytest.mark.server
@pytest.mark.parametrize(
    ("privilege", "right"),
    [
        ({"resource": {"anyResource": True}, "actions": ["anyAction"]}, r"may do everything \(anyAction\)"),
        ({"resource": {"cluster": True}, "actions": ["serverStatus", "shutdown"]}, "may administer the source"),
        ({"resource": {"db": "shop", "collection": ""}, "actions": ["find", "grantRole"]}, "may make users"),
        ({"resource": EVERYWHERE, "actions": ["find", "insert"]}, "may write in every database"),
        ({"resource": {"anyResource": True}, "actions": ["update"]}, "may write in every database"),
        ({"resource": EVERYWHERE, "actions": ["find", "collStats"]}, None),  # readAnyDatabase
        ({"resource": {"cluster": True}, "actions": ["serverStatus", "top", "inprog"]}, None),  # clusterMonitor
        ({"resource": {"db": "shop", "collection": ""}, "actions": ["find", "insert", "remove"]}, None),  # readWrite
    ],
)
def test_mongodb_says_what_its_user_may_do(engine: Engine, privilege: dict[str, Any], right: str | None) -> None:
    server = start_gateway(engine, privileges=[privilege])
    try:
        harness = MongoDBHarness(server)
        if right is None:
            assert rows("mongodb", harness.config, harness.nothing) == 0
        else:
            with pytest.raises(AccountTooStrong, match=f"^The connector's account {right}"):
                rows("mongodb", harness.config, harness.nothing)
            assert statuses(report_of(harness, harness.nothing))["account"] == "failed"
            assert rows("mongodb", harness.config, harness.nothing, strong_accounts=True) == 0
            assert stages("mongodb", harness.config, harness.nothing) == [Stage.LOGIN]
    finally:
        server.stop()


# Neo4j


def test_a_user_of_neo4j_community_is_not_refused_for_it_has_no_roles(neo4j_server: Server) -> None:
    harness = Neo4jHarness(neo4j_server)
    ((roles,),) = harness.run(neo4j_account.RIGHTS)

    assert roles is None
    assert rows("neo4j", harness.config, "RETURN 1 AS id, 2 AS n") == 1


def test_an_administrator_of_neo4j_is_refused() -> None:
    """As the Enterprise Edition's manual tells its answer; none could be run."""
    with pytest.raises(AccountTooStrong, match="is an administrator"):
        neo4j_account.check(["admin", "PUBLIC"])
    neo4j_account.check(["reader", "PUBLIC"])
