"""The README is held to the code: what it shows works, and what there is stands in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_api.cli import main
from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import connector_types, source_of
from tests.conftest import ENCRYPTION_KEY, PEPPER

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str, holding: str, page: str = README) -> str:
    """The only code block of the page in this language that holds this text."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if holding in text)
    return str(found)


def test_every_setting_stands_in_the_readme() -> None:
    for field in Settings.model_fields.values():
        assert f"| `{field.alias}` |" in README


def test_every_field_of_a_connector_stands_in_the_readme() -> None:
    for field in NewConnector.model_fields:
        assert f"`{field}`" in README


def test_every_connector_type_stands_in_the_readme() -> None:
    for connector_type in connector_types():
        assert f"`{connector_type}`" in README


@pytest.mark.parametrize("connector_type", connector_types())
def test_what_a_connection_config_needs_and_what_not_stands_in_the_readme(connector_type: str) -> None:
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `{connector_type}` | `{{"))
    _, _, _, required, optional, *_ = row.split("|")
    fields = source_of(connector_type).config_type.model_fields

    assert re.findall(r"`(\w+)`", required) == [name for name, field in fields.items() if field.is_required()]
    assert re.findall(r"`(\w+)`", optional) == [name for name, field in fields.items() if not field.is_required()]


def test_every_command_stands_in_the_readme() -> None:
    commands = [f"qanatix {name}" for name in main.commands if name != "keys"]
    commands += [f"qanatix keys {name}" for name in main.commands["keys"].commands]  # type: ignore[attr-defined]
    assert [command for command in commands if command not in README] == []


def test_every_route_stands_in_the_readme(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    with TestClient(app) as client:
        paths = client.get("/openapi.json").json()["paths"]
    routes = [f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods]
    assert [route for route in routes if re.sub(r"\{(?!dry_run)\w+_id\}", "{id}", route) not in README] == []


def test_every_scope_stands_in_the_readme() -> None:
    assert [scope for scope in Scope if f"| `{scope}` |" not in README] == []


def test_the_storage_that_the_readme_shows_is_one_that_dagster_takes(database: str, tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text()) | yaml.safe_load(block("yaml", "postgres_db"))
    user, password, host, port, name = re.fullmatch(  # type: ignore[union-attr]
        r"postgresql://(.*):(.*)@(.*):(.*)/(.*)", database
    ).groups()
    settings["storage"]["postgres"]["postgres_db"]["port"] = int(port)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    environment = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_PG_HOST": host,
        "DAGSTER_PG_USER": user,
        "DAGSTER_PG_PASSWORD": password,
        "DAGSTER_PG_DB": name,
    }
    ask = "import dagster; print(dagster.DagsterInstance.get().get_runs_count())"

    asked = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=False)

    assert (asked.stdout.strip(), asked.returncode) == ("0", 0), asked.stderr


@pytest.mark.parametrize(
    "command", ["dagster-webserver", "dagster-daemon", "dagster instance", "qanatix-worker", "uvicorn"]
)
def test_every_program_that_the_readme_starts_is_installed(command: str) -> None:
    assert command in block("sh", "dagster-daemon run")
    assert Path(sys.executable).with_name(command.split(maxsplit=1)[0]).exists()
