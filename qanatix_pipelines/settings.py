"""The settings: environment variables, read once by each program and handed down."""

import base64
import binascii
import ipaddress
import os
import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from qanatix_pipelines.egress import Egress
from qanatix_pipelines.errors import SettingsError
from qanatix_pipelines.naming import CODE_LOCATION

ENCRYPTION_KEY = "CONNECTOR_ENCRYPTION_KEY"
PEPPER = "QANATIX_API_KEY_PEPPER"
STORE_URL = "QANATIX_STORE_URL"
# A value of QANATIX_STORE_URL: SQLite in the data folder. Production uses it only if told so by this word.
SQLITE = "sqlite"

# The command that makes each secret.
_MAKERS = {ENCRYPTION_KEY: "`qanatix generate-key`", PEPPER: "`openssl rand -hex 32`"}
FERNET_KEY_BYTES = 32
PEPPER_MIN_CHARACTERS = 32
MAX_PER_MINUTE = 1_000_000
OWNER_MAX_CHARACTERS = 256
# As browsers write an origin (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
# Dagster's rule for an e-mail address.
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b")


class _Variables(EnvSettingsSource):
    """The environment, by the exact aliases alone: other programs may use DATA_DIR or PEPPER."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, case_sensitive=True)
        self.config = SettingsConfigDict(**{**self.config, "populate_by_name": False})


class Settings(BaseSettings):
    """One field for each environment variable, which is its alias. Build it with `read_settings`."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True, extra="ignore"
    )

    environment: Literal["development", "production"] = Field("development", alias="QANATIX_ENV")
    data_dir: Path = Field(Path(".qanatix"), alias="QANATIX_DATA_DIR")
    store_url: SecretStr | None = Field(None, alias=STORE_URL)
    encryption_key: SecretStr | None = Field(None, alias=ENCRYPTION_KEY)
    pepper: SecretStr | None = Field(None, alias=PEPPER)
    dagster_url: AnyHttpUrl = Field(AnyHttpUrl("http://127.0.0.1:3000"), alias="QANATIX_DAGSTER_URL")
    code_location: str = Field(CODE_LOCATION, alias="QANATIX_CODE_LOCATION")
    owner: str = Field("team:data-engineering", alias="QANATIX_OWNER")
    asset_prefix: str | None = Field(None, alias="QANATIX_ASSET_PREFIX")
    public_url: AnyHttpUrl | None = Field(None, alias="QANATIX_PUBLIC_URL")
    preview_entities: int = Field(0, alias="QANATIX_PREVIEW_ENTITIES", ge=0, le=50)
    stale_hours: float = Field(24, alias="QANATIX_STALE_HOURS", gt=0, le=87_600)
    run_retention_days: int = Field(30, alias="QANATIX_RUN_RETENTION_DAYS", ge=0, le=36_500)
    allow_networks: str = Field("", alias="QANATIX_ALLOW_NETWORKS")
    allow_strong_accounts: bool = Field(False, alias="QANATIX_ALLOW_STRONG_ACCOUNTS")
    sqlite_folders: str = Field("", alias="QANATIX_SQLITE_FOLDERS")
    pull_wait_seconds: float = Field(600, alias="QANATIX_PULL_WAIT_SECONDS", gt=0, le=86_400)
    pull_seconds: float = Field(3600, alias="QANATIX_PULL_SECONDS", gt=0, le=604_800)
    answer_seconds: float = Field(600, alias="QANATIX_ANSWER_SECONDS", gt=0, le=86_400)
    merge_seconds: float = Field(3600, alias="QANATIX_MERGE_SECONDS", gt=0, le=604_800)
    reads_per_minute: int = Field(600, alias="QANATIX_READS_PER_MINUTE", gt=0, le=MAX_PER_MINUTE)
    writes_per_minute: int = Field(60, alias="QANATIX_WRITES_PER_MINUTE", gt=0, le=MAX_PER_MINUTE)
    pulls_per_minute: int = Field(60, alias="QANATIX_PULLS_PER_MINUTE", gt=0, le=MAX_PER_MINUTE)
    failed_keys_per_minute: int = Field(20, alias="QANATIX_FAILED_KEYS_PER_MINUTE", gt=0, le=MAX_PER_MINUTE)
    cors_origins: str = Field("", alias="QANATIX_CORS_ORIGINS")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_by_name: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code come first, then the environment. No file is read."""
        return init_settings, _Variables(settings_cls)

    @field_validator("asset_prefix")
    @classmethod
    def _check_prefix(cls, prefix: str | None) -> str | None:
        if prefix is None or re.fullmatch("[A-Za-z0-9_]{1,63}", prefix):
            return prefix
        raise ValueError("it must be 1 to 63 letters, digits or _")

    @field_validator("owner")
    @classmethod
    def _check_owner(cls, owner: str) -> str:
        """As Dagster checks the owner of an asset. Dagster shows it, so it is short and printable, too."""
        team = owner.removeprefix("team:")
        named = _EMAIL.fullmatch(owner) or (owner != team == team.strip() != "")
        if named and len(owner) <= OWNER_MAX_CHARACTERS and owner.isprintable():
            return owner
        raise ValueError(
            "it must be an e-mail address, or team: and a name without blanks at its ends, of at most "
            f"{OWNER_MAX_CHARACTERS} printable characters"
        )

    @property
    def production(self) -> bool:
        return self.environment == "production"

    def egress(self) -> Egress:
        """Where pulls may connect to. Raises SettingsError if an entry is not a network."""
        texts = [text.strip() for text in self.allow_networks.split(",") if text.strip()]
        networks = []
        for position, text in enumerate(texts, start=1):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                raise SettingsError(
                    "QANATIX_ALLOW_NETWORKS",
                    f"is wrong: entry {position} of {len(texts)} is no network, such as 10.20.0.0/16 or fd12::/16, "
                    "whose host bits are 0.",
                ) from None
        return Egress(tuple(networks), loopback=not self.production)

    def file_folders(self) -> tuple[Path, ...]:
        """The folders whose files pulls may read. Raises SettingsError if one of them is none for that."""
        texts = [text.strip() for text in self.sqlite_folders.split(",") if text.strip()]
        data = self.data_dir.expanduser().resolve()
        folders = tuple(Path(text) for text in texts)
        for position, folder in enumerate(folders, start=1):
            problem = None
            real = folder.resolve()
            if not folder.is_absolute() or ".." in folder.parts or real == Path(real.anchor):
                problem = "is no absolute path of a folder, such as /srv/databases"
            elif real == data or real in data.parents or data in real.parents:
                problem = "holds QANATIX_DATA_DIR or lies in it, where the store and its keys are"
            if problem is not None:
                raise SettingsError("QANATIX_SQLITE_FOLDERS", f"is wrong: entry {position} of {len(texts)} {problem}.")
        return folders

    def origins(self) -> tuple[str, ...]:
        """The origins of pages that may call the API. Raises SettingsError if an entry is none."""
        texts = [text.strip() for text in self.cors_origins.split(",") if text.strip()]
        for position, text in enumerate(texts, start=1):
            if not _ORIGIN.fullmatch(text):
                raise SettingsError(
                    "QANATIX_CORS_ORIGINS",
                    f"is wrong: entry {position} of {len(texts)} is no origin, such as https://app.example.com, in "
                    "small letters and without a slash at its end.",
                )
        return tuple(texts)

    def store_address(self) -> str:
        """The store's URL: SQLite in the data folder unless another is set.

        Raises SettingsError if there is no data folder, or if nothing is set in production: a forgotten variable would
        make a second, empty store.
        """
        given = None if self.store_url is None else self.store_url.get_secret_value()
        if given is None and self.production:
            raise SettingsError(
                STORE_URL,
                "is not set, and QANATIX_ENV=production does not start without it. Set it to "
                f"postgresql://user:password@host/database, or to the word {SQLITE} for a file in QANATIX_DATA_DIR.",
            )
        if given is not None and given != SQLITE:
            return given
        return f"sqlite:///{self._data_folder() / 'qanatix.db'}"

    def encryption_keys(self) -> list[str]:
        """The Fernet keys of CONNECTOR_ENCRYPTION_KEY: the first encrypts, all decrypt.

        Raises SettingsError if one is malformed or given twice, or if there is none in production.
        """
        text = self._secret(ENCRYPTION_KEY, self.encryption_key, new_fernet_key)
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not keys:
            raise SettingsError(ENCRYPTION_KEY, "holds no key.")
        for position, key in enumerate(keys, start=1):
            if not _is_fernet_key(key):
                raise SettingsError(
                    ENCRYPTION_KEY,
                    f"is malformed: key {position} of {len(keys)} is not 32 bytes in URL-safe base64. "
                    "`qanatix generate-key` prints a good one.",
                )
        if len(set(keys)) != len(keys):
            raise SettingsError(ENCRYPTION_KEY, "holds the same key twice.")
        return keys

    def api_key_pepper(self) -> bytes:
        """The secret under which API keys are hashed. Raises SettingsError if short, or absent in production."""
        pepper = self._secret(PEPPER, self.pepper, lambda: secrets.token_hex(32))
        if len(pepper) < PEPPER_MIN_CHARACTERS:
            raise SettingsError(PEPPER, f"is too short: at least {PEPPER_MIN_CHARACTERS} characters are needed.")
        return pepper.encode()

    def _secret(self, variable: str, given: SecretStr | None, generate: Callable[[], str]) -> str:
        if given is not None:
            return given.get_secret_value()
        if self.production:
            raise self._missing(variable)
        return _kept_in(self._data_folder() / variable.lower(), variable, generate)

    def check_secrets(self) -> None:
        """Raise SettingsError unless both the key and the pepper are good."""
        self.encryption_keys()
        self.api_key_pepper()

    def _missing(self, variable: str) -> SettingsError:
        """The error for a secret that is not set. It says how to make it, and the other one if that is missing too."""
        missing = [name for name, given in ((ENCRYPTION_KEY, self.encryption_key), (PEPPER, self.pepper)) if not given]
        makers = "; ".join(f"{_MAKERS[name]} prints one for {name}" for name in missing)
        others = [name for name in missing if name != variable]
        also = f", nor is {others[0]}" if others else ""
        return SettingsError(
            variable, f"is not set{also}, and QANATIX_ENV=production does not start without it: {makers}."
        )

    def _data_folder(self) -> Path:
        folder = self.data_dir.expanduser().resolve()
        if self.production:  # a mistyped folder would become a second store
            if not folder.is_dir():
                raise SettingsError(
                    "QANATIX_DATA_DIR", f"names a folder that is not there, {folder}: make it; production does not."
                )
            return folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            raise SettingsError("QANATIX_DATA_DIR", "is not a folder, or cannot be made.") from None
        return folder


def read_settings(given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this process's environment, except for those that are `given` by their fields' names.

    Raises SettingsError that names the first wrong variable.
    """
    try:
        settings = Settings(**(given or {}))
        settings.egress()
        settings.file_folders()
        settings.origins()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
        name = str(problem["loc"][0])
        field = Settings.model_fields.get(name)  # pydantic names a value given in code by its field
        variable = name if field is None else str(field.alias)
        raise SettingsError(variable, f"is wrong: {problem['msg'].removeprefix('Value error, ')}.") from None
    return settings


def new_fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(FERNET_KEY_BYTES)).decode()


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, altchars=b"-_", validate=True)) == FERNET_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _kept_in(file: Path, variable: str, generate: Callable[[], str]) -> str:
    """The secret in `file`, generated if absent. Two processes that start at once agree on one."""
    if not file.exists():
        draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(generate())
        with suppress(FileExistsError):  # another process was first, and its secret counts
            os.link(draft, file)
            warnings.warn(
                f"{variable} is not set: generated one for development in {file}. "
                "Without that file the store's secrets cannot be read.",
                stacklevel=2,
            )
        draft.unlink()
    return file.read_text().strip()
