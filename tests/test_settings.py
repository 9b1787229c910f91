"""Settings: what the environment may say, and how a wrong one is refused without being shown."""

import base64
import re
from pathlib import Path

import pytest
from dagster._core.definitions.utils import is_valid_owner

from qanatix_pipelines.errors import SettingsError
from qanatix_pipelines.settings import Settings, read_settings

# The same in every process: they stand in the tests' names.
KEY, OTHER_KEY = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2))
VARIABLES = (
    "QANATIX_ENV",
    "QANATIX_DATA_DIR",
    "QANATIX_STORE_URL",
    "QANATIX_DAGSTER_URL",
    "QANATIX_PULL_WAIT_SECONDS",
    "QANATIX_API_KEY_PEPPER",
    "CONNECTOR_ENCRYPTION_KEY",
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path / "data"))


def test_the_default_store_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    assert read_settings().store_address() == f"sqlite:///{tmp_path}/data/qanatix.db"


def test_the_word_sqlite_is_the_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QANATIX_STORE_URL", "sqlite")

    assert read_settings().store_address() == f"sqlite:///{tmp_path}/data/qanatix.db"


def test_production_asks_for_its_store_and_says_what_may_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_ENV", "production")

    with pytest.raises(SettingsError, match=r"^QANATIX_STORE_URL is not set.*postgresql://.*the word sqlite"):
        read_settings().store_address()


def test_production_makes_no_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QANATIX_ENV", "production")
    monkeypatch.setenv("QANATIX_STORE_URL", "sqlite")

    with pytest.raises(SettingsError, match=rf"^QANATIX_DATA_DIR .*{tmp_path}/data: make it"):
        read_settings().store_address()

    assert list(tmp_path.iterdir()) == []


# Good and bad for any field: were a name read, it would change something or be refused.
_ELSEWHERE = ("production", "true", "7", "hunter2", "sqlite", "http://elsewhere:1")


@pytest.mark.parametrize("field", Settings.model_fields)
@pytest.mark.parametrize("value", _ELSEWHERE)
def test_a_variable_is_read_by_its_documented_name_alone(
    monkeypatch: pytest.MonkeyPatch, field: str, value: str
) -> None:
    alias = str(Settings.model_fields[field].alias)
    before = read_settings()
    bare = alias.removeprefix("QANATIX_").removeprefix("CONNECTOR_")
    for name in {field, field.upper(), f"QANATIX_{field.upper()}", bare, alias.lower(), alias.title()} - {alias}:
        monkeypatch.setenv(name, value)

    assert read_settings() == before


@pytest.mark.parametrize("field", Settings.model_fields)
def test_each_variable_is_read_by_its_documented_name(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    before = read_settings()
    changed = set()
    for value in _ELSEWHERE:
        monkeypatch.setenv(str(Settings.model_fields[field].alias), value)
        try:
            changed.add(getattr(read_settings(), field) != getattr(before, field))
        except SettingsError:
            changed.add(True)

    assert changed >= {True}


def test_keys_are_read_in_order_and_may_have_spaces_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", f"{KEY}, {OTHER_KEY}")

    assert read_settings().encryption_keys() == [KEY, OTHER_KEY]


def test_production_does_not_start_without_an_encryption_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_ENV", "production")

    with pytest.raises(SettingsError, match="CONNECTOR_ENCRYPTION_KEY is not set"):
        read_settings().encryption_keys()


def test_production_does_not_start_without_a_pepper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_ENV", "production")

    with pytest.raises(SettingsError, match="QANATIX_API_KEY_PEPPER is not set"):
        read_settings().api_key_pepper()


@pytest.mark.parametrize(
    "value",
    [
        "secret-but-not-a-key",
        KEY[:-1],
        KEY + "A",
        KEY[:-4] + "!!!=",
        f"{KEY},secret-but-not-a-key",
        f"{KEY},{KEY}",
        " , ",
        KEY.replace("=", ""),
    ],
)
def test_a_malformed_key_is_refused_by_the_variables_name_alone(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", value)

    with pytest.raises(SettingsError, match=r"^CONNECTOR_ENCRYPTION_KEY ") as refused:
        read_settings().encryption_keys()

    assert KEY[:20] not in str(refused.value)
    assert "secret-but" not in str(refused.value)


def test_a_short_pepper_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_API_KEY_PEPPER", "too-short-a-secret")

    with pytest.raises(SettingsError, match=r"^QANATIX_API_KEY_PEPPER is too short(?!.*too-short)"):
        read_settings().api_key_pepper()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QANATIX_ENV", "staging-hunter2"),
        ("QANATIX_PULL_WAIT_SECONDS", "hunter2"),
        ("QANATIX_PULL_WAIT_SECONDS", "-1"),
        ("QANATIX_DAGSTER_URL", "ftp://user:hunter2@host"),
        ("QANATIX_DAGSTER_URL", "http://hunter2:99999"),
    ],
)
def test_a_wrong_value_is_refused_by_name_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=f"^{variable} is wrong") as refused:
        read_settings()

    assert "hunter2" not in str(refused.value)


def test_a_development_secret_is_made_once_with_a_warning_and_kept_private(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="CONNECTOR_ENCRYPTION_KEY is not set: generated one"):
        first = read_settings().encryption_keys()

    assert read_settings().encryption_keys() == first
    kept = tmp_path / "data" / "connector_encryption_key"
    assert oct(kept.stat().st_mode)[-3:] == "600"
    assert list(kept.parent.iterdir()) == [kept]


def test_a_data_folder_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path / "file"))

    with pytest.raises(SettingsError, match="QANATIX_DATA_DIR is not a folder"):
        read_settings().store_address()


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("QANATIX_STORE_URL", "postgresql://me:hunter2@db/store")

    assert not re.search(f"hunter2|{re.escape(KEY)}", repr(read_settings()))


@pytest.mark.parametrize("owner", ["team:supply-chain", "ada@example.com", "a.b+c@mail.example.org"])
def test_an_owner_that_dagster_takes_is_taken(monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    monkeypatch.setenv("QANATIX_OWNER", owner)

    assert read_settings().owner == owner
    assert is_valid_owner(owner)


@pytest.mark.parametrize("owner", ["supply-chain", "team:", "ada@example", "ada example.com", "team", "@example.com"])
def test_an_owner_that_dagster_refuses_is_refused_as_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    monkeypatch.setenv("QANATIX_OWNER", owner)

    with pytest.raises(SettingsError, match=r"^QANATIX_OWNER is wrong: it must be an e-mail address, or team:"):
        read_settings()
    assert not is_valid_owner(owner)


@pytest.mark.parametrize(
    ("name", "times"),
    [(name, 1) for name in ("\n", "\0", "a\0", "a\nb", "\udcff", " ", " a", "a ", "\u00a0")]
    + [("x", 252), ("x", 100_000)],
)
def test_an_owner_that_cannot_be_shown_is_refused(name: str, times: int) -> None:
    with pytest.raises(SettingsError, match=r"^QANATIX_OWNER is wrong: .*team: .*at most 256 printable characters"):
        read_settings({"owner": f"team:{name * times}"})


def test_a_long_e_mail_address_is_no_owner() -> None:
    with pytest.raises(SettingsError, match=r"^QANATIX_OWNER is wrong: .*at most 256 printable characters"):
        read_settings({"owner": "x" * 245 + "@example.com"})


@pytest.mark.parametrize("name", ["supply chain", "Einkauf Köln", pytest.param("x" * 251, id="long")])
def test_an_owner_is_any_printable_name(name: str) -> None:
    assert read_settings({"owner": f"team:{name}"}).owner == f"team:{name}"


def test_what_is_given_in_code_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_STALE_HOURS", "5")
    monkeypatch.setenv("QANATIX_PULL_SECONDS", "6")

    settings = read_settings({"stale_hours": 7})

    assert (settings.stale_hours, settings.pull_seconds) == (7, 6)


def test_what_is_wrong_in_code_is_told_by_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"^QANATIX_STALE_HOURS is wrong") as refused:
        read_settings({"stale_hours": "hunter2"})

    assert "hunter2" not in str(refused.value)


def test_networks_are_read_with_spaces_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_ALLOW_NETWORKS", "10.20.0.0/16, fd12::/16")

    egress = read_settings().egress()

    assert [str(network) for network in egress.allowed] == ["10.20.0.0/16", "fd12::/16"]


def test_this_machine_is_open_to_pulls_in_development_only(monkeypatch: pytest.MonkeyPatch) -> None:
    development = read_settings().egress()
    monkeypatch.setenv("QANATIX_ENV", "production")

    assert (development.loopback, read_settings().egress().loopback) == (True, False)


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "hunter2", "10.0.0.0/33", "10.0.0.0/8;fd12::/16"])
def test_what_is_no_network_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, networks: str) -> None:
    monkeypatch.setenv("QANATIX_ALLOW_NETWORKS", networks)

    with pytest.raises(SettingsError, match="QANATIX_ALLOW_NETWORKS") as refused:
        read_settings().egress()

    assert networks not in str(refused.value)


@pytest.mark.parametrize("prefix", ["a/b", "a-b", "ä", "a\n", "a" * 64])
def test_a_prefix_that_is_no_part_of_an_asset_key_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("QANATIX_ASSET_PREFIX", prefix)

    with pytest.raises(SettingsError, match=r"^QANATIX_ASSET_PREFIX is wrong: it must be 1 to 63 letters, digits or _"):
        read_settings()


def test_pages_may_call_from_the_origins_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().origins() == ()
    monkeypatch.setenv("QANATIX_CORS_ORIGINS", "https://app.example.com, http://[::1]:3000")

    assert read_settings().origins() == ("https://app.example.com", "http://[::1]:3000")


@pytest.mark.parametrize(
    "origin", ["*", "app.example.com", "https://app.example.com/", "https://App.example.com", "null"]
)
def test_what_is_no_origin_is_refused_by_its_place(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("QANATIX_CORS_ORIGINS", f"https://app.example.com,{origin}")

    with pytest.raises(SettingsError, match=r"^QANATIX_CORS_ORIGINS is wrong: entry 2 of 2 is no origin"):
        read_settings()
