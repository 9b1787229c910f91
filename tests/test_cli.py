"""The command line, as it is run."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store.opening import open_store
from tests.commands import qanatix
from tests.test_store import NEW

pytestmark = pytest.mark.stack
STORE = "Store: SQLite in {}/qanatix.db."


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    ours = {"QANATIX_DATA_DIR": str(tmp_path), "QANATIX_API_KEY_PEPPER": "p" * 40}
    return {key: value for key, value in os.environ.items() if not key.startswith("QANATIX")} | ours


def test_a_key_is_printed_once_and_listed_without_its_secret(environment: dict[str, str]) -> None:
    created = qanatix(environment, "keys", "create", "--name", "for the nightly job")
    listed = qanatix(environment, "keys", "list")

    key = created.stdout.strip()
    assert (created.returncode, len(key), key[:8]) == (0, 72, "sk_live_")
    assert listed.stdout.startswith(key[8:16])
    assert listed.stdout.strip().endswith("for the nightly job")
    assert key[16:] not in listed.stdout


def test_a_key_is_revoked_once(environment: dict[str, str]) -> None:
    key_id = qanatix(environment, "keys", "create").stdout[8:16]

    first = qanatix(environment, "keys", "revoke", key_id)
    again = qanatix(environment, "keys", "revoke", key_id)

    store = STORE.format(environment["QANATIX_DATA_DIR"])
    assert (first.returncode, first.stderr) == (
        0,
        f"The key {key_id} of the tenant default is refused from now on. {store}\n",
    )
    assert (again.returncode, again.stderr) == (
        0,
        f"The key {key_id} of the tenant default is revoked already. {store}\n",
    )


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_that_never_was_is_neither_rotated_nor_revoked(environment: dict[str, str], command: str) -> None:
    refused = qanatix(environment, "keys", command, "0" * 8)

    store = STORE.format(environment["QANATIX_DATA_DIR"])
    assert (refused.returncode, refused.stderr) == (
        1,
        f"Error: No API key of the tenant default has the id 00000000. {store}\n",
    )


def test_a_key_has_the_scopes_and_the_end_that_are_said(environment: dict[str, str]) -> None:
    said = ("--scope", "pulls:run", "--scope", "admin", "--expires-in-days", "30")

    qanatix(environment, "keys", "create", *said)

    (line,) = qanatix(environment, "keys", "list").stdout.splitlines()
    assert "  used never  until 20" in line
    assert line.endswith("  admin,pulls:run  default")


def test_an_unknown_scope_is_refused(environment: dict[str, str]) -> None:
    assert qanatix(environment, "keys", "create", "--scope", "everything").returncode == 2


def test_a_key_is_rotated(environment: dict[str, str]) -> None:
    old = qanatix(environment, "keys", "create").stdout.strip()

    new = qanatix(environment, "keys", "rotate", old[8:16], "--grace-seconds", "60").stdout.strip()

    assert (len(new), new[8:16]) == (72, old[8:16])
    assert new != old


def test_a_key_that_is_revoked_is_listed_and_not_rotated(environment: dict[str, str]) -> None:
    key_id = qanatix(environment, "keys", "create").stdout[8:16]
    qanatix(environment, "keys", "revoke", key_id)

    assert "  revoked 20" in qanatix(environment, "keys", "list").stdout
    refused = qanatix(environment, "keys", "rotate", key_id)
    told = f"Error: The key {key_id} of the tenant default is revoked or expired: make another."
    assert (refused.returncode, refused.stderr.startswith(told)) == (1, True)


def test_a_key_is_its_tenants(environment: dict[str, str]) -> None:
    mine = qanatix(environment, "keys", "create").stdout[8:16]
    theirs = qanatix(environment, "keys", "create", "--tenant", "acme").stdout[8:16]

    everybodys = qanatix(environment, "keys", "list").stdout.splitlines()
    acmes = qanatix(environment, "keys", "list", "--tenant", "acme").stdout.splitlines()

    assert [line.split("  ")[:2] for line in everybodys] == [[theirs, "acme"], [mine, "default"]]
    assert acmes == everybodys[:1]
    for change in ("rotate", "revoke"):
        refused = qanatix(environment, "keys", change, theirs)
        assert (refused.returncode, "of the tenant default has the id" in refused.stderr) == (1, True)
        assert qanatix(environment, "keys", change, theirs, "--tenant", "acme").returncode == 0


def test_a_tenant_of_an_impossible_name_is_refused(environment: dict[str, str]) -> None:
    refused = qanatix(environment, "keys", "create", "--tenant", "Acme Inc.")

    assert (refused.returncode, "Invalid value for '--tenant'" in refused.stderr) == (2, True)


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_whole_key_in_the_place_of_its_id_is_refused_and_not_repeated(
    environment: dict[str, str], command: str
) -> None:
    key = qanatix(environment, "keys", "create").stdout.strip()

    refused = qanatix(environment, "keys", command, key)

    assert (refused.returncode, "Invalid value for 'KEY_ID'" in refused.stderr) == (2, True)
    assert key[16:] not in refused.stderr


@pytest.mark.parametrize("name", ["", "a\nforged", "\udcff"])
def test_a_name_that_would_not_stay_on_its_line_is_refused(environment: dict[str, str], name: str) -> None:
    refused = qanatix(environment, "keys", "create", "--name", name)

    assert (refused.returncode, "Invalid value for '--name'" in refused.stderr) == (2, True)


@pytest.fixture
def production(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a store in production that is yet to be made."""
    told = {"QANATIX_ENV": "production", "QANATIX_STORE_URL": "sqlite", "CONNECTOR_ENCRYPTION_KEY": new_fernet_key()}
    return environment | told


def test_production_is_migrated_by_migrate_only(production: dict[str, str]) -> None:
    assert "qanatix migrate" in qanatix(production, "keys", "list").stderr
    assert qanatix(production, "migrate").returncode == 0
    assert qanatix(production, "keys", "list").returncode == 0


@pytest.mark.parametrize("command", [("migrate",), ("keys", "list"), ("keys", "create")])
@pytest.mark.parametrize(
    ("variable", "wrong"), [("CONNECTOR_ENCRYPTION_KEY", "A" * 43 + "="), ("QANATIX_API_KEY_PEPPER", "q" * 40)]
)
def test_a_secret_that_is_not_the_stores_is_refused(
    production: dict[str, str], command: tuple[str, ...], variable: str, wrong: str
) -> None:
    qanatix(production, "migrate")
    qanatix(production, "keys", "create")
    qanatix(production, "keys", "rotate-encryption")

    refused = qanatix(production | {variable: wrong}, *command)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: {variable} is not the one with which this store was written")


def test_a_key_is_made_with_the_store_that_it_is_in(environment: dict[str, str]) -> None:
    created = qanatix(environment, "keys", "create")

    assert created.stderr.endswith(f"{STORE.format(environment['QANATIX_DATA_DIR'])}\n")


def test_both_secrets_that_are_missing_are_named_with_how_to_make_them(production: dict[str, str]) -> None:
    del production["CONNECTOR_ENCRYPTION_KEY"], production["QANATIX_API_KEY_PEPPER"]

    refused = qanatix(production, "migrate")

    assert refused.stderr == (
        "Error: CONNECTOR_ENCRYPTION_KEY is not set, nor is QANATIX_API_KEY_PEPPER, and QANATIX_ENV=production does "
        "not start without it: `qanatix generate-key` prints one for CONNECTOR_ENCRYPTION_KEY; `openssl rand -hex 32` "
        "prints one for QANATIX_API_KEY_PEPPER.\n"
    )


COMMANDS = {
    ("migrate",): ("CONNECTOR_ENCRYPTION_KEY", "QANATIX_API_KEY_PEPPER", "QANATIX_STORE_URL"),
    ("keys", "create"): ("QANATIX_API_KEY_PEPPER", "QANATIX_STORE_URL"),
    ("keys", "list"): ("QANATIX_API_KEY_PEPPER", "QANATIX_STORE_URL"),
    ("keys", "rotate", "0" * 8): ("QANATIX_API_KEY_PEPPER", "QANATIX_STORE_URL"),
    ("keys", "revoke", "0" * 8): ("QANATIX_API_KEY_PEPPER", "QANATIX_STORE_URL"),
    ("keys", "rotate-encryption"): ("CONNECTOR_ENCRYPTION_KEY", "QANATIX_STORE_URL"),
}


@pytest.mark.parametrize(
    ("command", "variable"), [(command, variable) for command, needed in COMMANDS.items() for variable in needed]
)
def test_a_command_in_production_asks_for_what_it_needs_and_makes_no_file(
    production: dict[str, str], command: tuple[str, ...], variable: str
) -> None:
    del production[variable]

    refused = qanatix(production, *command)

    assert (refused.returncode, refused.stderr.split(",")[0]) == (1, f"Error: {variable} is not set")
    assert list(Path(production["QANATIX_DATA_DIR"]).iterdir()) == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != ("migrate",)])
@pytest.mark.parametrize("store", ["sqlite", "sqlite:///{}/there.db"])
def test_a_command_makes_no_store_that_it_then_finds_not_migrated(
    production: dict[str, str], command: tuple[str, ...], store: str
) -> None:
    production["QANATIX_STORE_URL"] = store.format(production["QANATIX_DATA_DIR"])

    refused = qanatix(production, *command)

    assert (refused.returncode, "run `qanatix migrate`" in refused.stderr) == (1, True)
    assert list(Path(production["QANATIX_DATA_DIR"]).iterdir()) == []


def test_the_encryption_key_is_rotated(environment: dict[str, str]) -> None:
    old, new = new_fernet_key(), new_fernet_key()
    _keep_connectors(environment, [old], 3)

    rotated = qanatix(environment | {"CONNECTOR_ENCRYPTION_KEY": f"{new},{old}"}, "keys", "rotate-encryption")

    told = f"3 connectors are under the first key of CONNECTOR_ENCRYPTION_KEY; keys after it may be removed. {STORE}"
    told = told.format(environment["QANATIX_DATA_DIR"])
    assert (rotated.returncode, rotated.stderr.splitlines()) == (0, ["1 of 3", "2 of 3", "3 of 3", told])
    again = qanatix(environment | {"CONNECTOR_ENCRYPTION_KEY": new}, "keys", "rotate-encryption")
    assert (again.returncode, again.stderr.splitlines()) == (0, [f"Nothing to rotate: {told}"])


def test_one_connector_is_one(environment: dict[str, str]) -> None:
    key = new_fernet_key()
    _keep_connectors(environment, [key], 1)

    told = qanatix(environment | {"CONNECTOR_ENCRYPTION_KEY": key}, "keys", "rotate-encryption").stderr

    assert told.startswith("Nothing to rotate: 1 connector is under the first key")


def test_a_rotation_tells_which_connectors_no_key_decrypts(environment: dict[str, str]) -> None:
    old, lost, new = new_fernet_key(), new_fernet_key(), new_fernet_key()
    _keep_connectors(environment, [old], 1)
    (unreadable,) = _keep_connectors(environment, [lost, old], 1)
    _keep_connectors(environment, [old, lost], 0)

    rotated = qanatix(environment | {"CONNECTOR_ENCRYPTION_KEY": f"{new},{old}"}, "keys", "rotate-encryption")

    assert rotated.returncode == 1
    assert rotated.stderr.splitlines() == [
        "1 of 2",
        f"{unreadable}  Products  is under none of the keys: bring its key back, or register it again",
        "Error: The others are under the first key; these need a key that is not here.",
    ]


def _keep_connectors(environment: dict[str, str], keys: list[str], count: int) -> list[UUID]:
    """As a process does that has these keys. Their ids."""
    store = open_store(Settings(data_dir=environment["QANATIX_DATA_DIR"], encryption_key=",".join(keys)))
    made = [store.connectors.add(NEW).id for _ in range(count)]
    store.engine.dispose()
    return made


def test_a_generated_key_is_one_that_settings_take(environment: dict[str, str]) -> None:
    key = qanatix(environment, "generate-key").stdout.strip()

    assert Settings(encryption_key=key).encryption_keys() == [key]


def test_a_wrong_variable_is_named_without_a_traceback(environment: dict[str, str]) -> None:
    refused = qanatix(environment | {"QANATIX_STORE_URL": "nonsense-hunter2"}, "migrate")

    assert (refused.returncode, refused.stderr) == (
        1,
        "Error: QANATIX_STORE_URL is not a database URL, such as postgresql://user:password@host/database.\n",
    )


@pytest.mark.parametrize("module", ["qanatix_api.app", "qanatix_pipelines.definitions"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONNECTOR_ENCRYPTION_KEY", None),
        ("CONNECTOR_ENCRYPTION_KEY", "hunter2"),
        ("QANATIX_ENV", "hunter2"),
        ("QANATIX_STORE_URL", None),
    ],
)
def test_production_does_not_start_with_a_missing_or_wrong_variable(
    production: dict[str, str], module: str, variable: str, value: str | None
) -> None:
    production.pop(variable)
    if value is not None:
        production[variable] = value
    start = "from qanatix_api.app import create_app; create_app()" if "api" in module else f"import {module}"

    refused = subprocess.run([sys.executable, "-c", start], env=production, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    if "api" in module:
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"The API does not start. {variable} ")
    assert f"SettingsError: {variable}" in refused.stderr or "api" in module
    assert "hunter2" not in refused.stderr


def test_the_workers_help_needs_no_variable(environment: dict[str, str]) -> None:
    environment.pop("DAGSTER_HOME", None)
    worker = Path(sys.executable).with_name("qanatix-worker")

    shown = subprocess.run([worker, "--help"], env=environment, capture_output=True, text=True, check=False)

    assert (shown.returncode, shown.stdout[:21], shown.stderr) == (0, "usage: qanatix-worker", "")


def test_the_api_does_not_start_in_production_without_a_pepper(production: dict[str, str]) -> None:
    qanatix(production, "migrate")
    del production["QANATIX_API_KEY_PEPPER"]
    start = "from qanatix_api.app import create_app; create_app()"

    refused = subprocess.run([sys.executable, "-c", start], env=production, capture_output=True, text=True, check=False)

    (line,) = refused.stderr.splitlines()
    assert (refused.returncode, line[:62]) == (1, "The API does not start. QANATIX_API_KEY_PEPPER is not set, and")
