"""What each command says of a request that the API does not take: it names the field."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.opening import Store
from tests.commands import qanatix
from tests.served import Served, served
from tests.test_client import environment
from tests.test_store import NEW

REFUSED = "Error: The API does not take this request. "


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def api(settings: Settings, store: Store) -> Iterator[Served]:
    del store  # it is there before the key
    with served(settings) as running:
        yield running


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


@pytest.mark.parametrize("command", ["test", "preview"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "connector_type: Field required; query: Field required; connection_config: Field required"),
        (
            "{connector_type: postgresql, query: SELECT 1, connection_config: {dsn: hunter2}}",
            "connection_config.dsn: must begin with postgresql://",
        ),
        (
            "{connector_type: postgresql, query: SELECT 1, connection_config: {}, schedule: {cron: hunter2}}",
            "schedule.cron: ",
        ),
        (
            "{connector_type: postgresql, query: DROP TABLE items, connection_config: {dsn: 'postgresql://u:p@h/d'}}",
            "query: ",
        ),
    ],
)
def test_a_file_is_told_which_of_its_fields_is_wrong(
    api: Served, tmp_path: Path, command: str, content: str, told: str
) -> None:
    file = tmp_path / "items.yaml"
    file.write_text(content)

    done = qanatix(environment(api.url, api.key), command, str(file))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(REFUSED + told), done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("watermark", "--set", "yesterday"), "value: must be a time with its zone"),
        (("watermark", "--set", "7"), "value: "),
        (("pull", "--since", "7"), "since: "),
        (("pull", "--dry-run", "--since", "7"), "since: "),
    ],
)
def test_an_option_is_told_by_its_field(api: Served, connector: Connector, command: tuple[str, ...], told: str) -> None:
    name, *options = command

    done = qanatix(environment(api.url, api.key), name, str(connector.id), *options)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(REFUSED + told), done.stderr
