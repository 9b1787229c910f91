"""Dagster's resources: the store of connectors, pulls and entities, and the databases of each connector type.

Their fields are settings. One that is not given is read from the environment of the process that uses it. Dagster shows
fields to whoever can open its UI, so a secret is given as the name of its environment variable, never as text.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar, NoReturn, Self, get_args

import dagster as dg
from pydantic import Field

from qanatix_pipelines.egress import Egress
from qanatix_pipelines.errors import SettingsError
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.settings import ENCRYPTION_KEY, STORE_URL, Settings, read_settings
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import Store, open_store

STORE = "qanatix_store"

# Dagster's class of `dg.EnvVar.int(...)`, which it does not export. Unlike EnvVar it is an int, and seems to be 0.
_IntEnvVar = type(dg.EnvVar.int("ANY"))


def source_key(connector_type: str) -> str:
    """The resource key of a type's databases. It has a prefix, for other projects have a `postgresql` of their own."""
    return f"qanatix_{connector_type}"


class _SettingsResource(dg.ConfigurableResource[Any]):
    """Fields that are settings, called as in `Settings`. They are fixed where definitions are made."""

    # The fields that are secret, with the variables that they usually stand in.
    secrets: ClassVar[Mapping[str, str]] = {}

    environment: str | None = Field(None, description="development or production; else QANATIX_ENV.")

    def __init__(self, **fields: Any) -> None:
        """As Dagster's. Raises SettingsError for an EnvVar in a field whose type Dagster reads from no variable."""
        for name in type(self).model_fields.keys() & fields.keys():
            self._check_env_var(name, fields[name])
        super().__init__(**fields)

    @classmethod
    def of(cls, settings: Settings, **fields: Any) -> Self:
        """With these fields, and one for each other setting that was given.

        Raises SettingsError for a secret that stands in no variable.
        """
        for name in sorted((cls.model_fields.keys() & settings.model_fields_set) - fields.keys()):
            if getattr(settings, name) is not None:
                fields[name] = _shown(settings, name)
        return cls(**fields)

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def configure_at_launch(cls, **_: Any) -> NoReturn:
        """Refused: Dagster would show a secret that is given here, and a run's configuration would choose the rest."""
        raise SettingsError(
            f"{cls.__name__}.configure_at_launch",
            f"is not for our settings: a run must not choose them. Use {cls.__name__}(...).",
        )

    @contextmanager
    def naming_its_variables(self) -> Iterator[None]:
        """A SettingsError names the variable that the value came from, not the one that usually holds it."""
        try:
            yield
        except SettingsError as error:
            for name, value in self.given().items():
                field = Settings.model_fields.get(name)
                if isinstance(value, dg.EnvVar | _IntEnvVar) and field is not None and field.alias == error.variable:
                    problem = str(error).removeprefix(f"{error.variable} ")
                    raise SettingsError(value.env_var_name, problem) from None
            raise

    @classmethod
    def _check_env_var(cls, name: str, value: Any) -> None:
        if not isinstance(value, dg.EnvVar | _IntEnvVar):
            return
        kinds = get_args(cls.model_fields[name].annotation) or (cls.model_fields[name].annotation,)
        wanted = {str: "dg.EnvVar", int: "dg.EnvVar.int"}
        if (int if isinstance(value, _IntEnvVar) else str) in kinds:
            return
        advice = [f"Use {wanted[kind]}(...)." for kind in kinds if kind in wanted]
        setting = Settings.model_fields.get(name)
        if setting is not None:
            advice.append(f"{'Or leave' if advice else 'Leave'} it out and set {setting.alias}.")
        raise SettingsError(f"{cls.__name__}.{name}", f"cannot be this kind of EnvVar. {' '.join(advice)}")

    def settings(self) -> Settings:
        """The settings of this process, with those that the fields give."""
        given = self.given()
        fields = {name: _resolved(given[name]) for name in given if name in Settings.model_fields}
        return _read(tuple(fields.items()), tuple(os.environ.items()))

    def get_resource_definition(self) -> Any:
        """As Dagster's. Raises SettingsError for a secret that is given as text, before Dagster can show it."""
        for name, variable in self.secrets.items():
            if not isinstance(getattr(self, name), dg.EnvVar | None):
                raise SettingsError(
                    f"{type(self).__name__}.{name}",
                    "is a secret and is given as text, which Dagster would show. Give the name of its environment "
                    f'variable instead: dg.EnvVar("{variable}").',
                )
        return super().get_resource_definition()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Raise SettingsError if a run's configuration changes a field: whoever can start a run must not choose them.

        Else a run could be given another store, or more networks and accounts than the operator allows.
        """
        assert context.resource_def is not None  # noqa: S101  # Dagster always gives it
        schema = context.resource_def.config_schema
        defined: Mapping[str, Any] = schema.default_value if schema.default_provided else {}
        for name in type(self).model_fields:
            value = defined.get(name)
            if isinstance(value, Mapping):
                value = _as(type(getattr(self, name)), os.environ.get(value["env"]))
            if getattr(self, name) != value:
                raise SettingsError(
                    f"{type(self).__name__}.{name}", "cannot be changed by a run's configuration. Leave it out there."
                )


class StoreResource(_SettingsResource):
    """The store of connectors, pulls and entities."""

    secrets = {"store_url": STORE_URL, "encryption_key": ENCRYPTION_KEY}

    # In a run they hold the secrets themselves.
    store_url: str | None = Field(
        None, repr=False, description="The store's address, by an EnvVar; else QANATIX_STORE_URL."
    )
    encryption_key: str | None = Field(
        None, repr=False, description="The keys of credentials, by an EnvVar; else CONNECTOR_ENCRYPTION_KEY."
    )
    data_dir: str | None = Field(None, description="Where SQLite and generated secrets live; else QANATIX_DATA_DIR.")
    preview_entities: int | None = Field(
        None, description="How many of a set's newest entities a pull shows; else QANATIX_PREVIEW_ENTITIES."
    )
    public_url: str | None = Field(None, description="The API's address, for links to it; else QANATIX_PUBLIC_URL.")
    stale_hours: float | None = Field(
        None, description="After how long without a pull the check `fresh` warns; else QANATIX_STALE_HOURS."
    )
    asset_prefix: str | None = Field(
        None, description="The first part of the asset keys of entity sets; else QANATIX_ASSET_PREFIX, or none."
    )

    def open(self) -> Store:
        """The tenant `default`'s. A process opens each store once, when a run or a sensor first asks."""
        settings = self.settings()
        which = (settings.store_url, settings.encryption_key, settings.data_dir, settings.environment)
        if which not in _opened:
            # Not proven: where this process has other keys than the store, the pull's receipt can say so.
            _opened[which] = open_store(settings, PULL_PATIENCE_SECONDS, proven=False)
        return _opened[which]


_opened: dict[tuple[object, ...], Store] = {}


def close_stores() -> None:
    """Close the stores that this process has opened. Each is opened again when it is next asked for."""
    while _opened:
        _opened.popitem()[1].engine.dispose()


class SourceResource(_SettingsResource):
    """The databases of one type, and what pulls may do there. Opened with a connector's credentials."""

    connector_type: str
    allow_networks: str | None = Field(
        None, description="Networks that pulls may connect to beside global addresses; else QANATIX_ALLOW_NETWORKS."
    )
    allow_strong_accounts: bool | None = Field(
        None, description="Whether an account may do more than read; else QANATIX_ALLOW_STRONG_ACCOUNTS."
    )
    sqlite_folders: str | None = Field(
        None, description="Folders whose SQLite files pulls may read; else QANATIX_SQLITE_FOLDERS."
    )
    answer_seconds: float | None = Field(
        None, description="How long a source may take for one answer; else QANATIX_ANSWER_SECONDS."
    )
    pull_seconds: float | None = Field(
        None, description="How long a source may take for a whole pull; else QANATIX_PULL_SECONDS."
    )
    merge_seconds: float | None = Field(
        None, description="How long the merge into the store may take; else QANATIX_MERGE_SECONDS."
    )

    def open(self, connection_config: Mapping[str, Any]) -> Source:
        """A source, inside a run or for a look only."""
        settings = self.settings()
        return open_source(
            self.connector_type,
            connection_config,
            strong_accounts=settings.allow_strong_accounts,
            folders=settings.file_folders(),
        )

    def limits(self) -> Limits:
        """How long a pull may take."""
        settings = self.settings()
        return Limits(settings.answer_seconds, settings.pull_seconds, merge_seconds=settings.merge_seconds)

    def egress(self) -> Egress:
        """Where a pull may connect to."""
        return self.settings().egress()


@lru_cache(maxsize=8)
def _read(given: tuple[tuple[str, Any], ...], _environment: tuple[tuple[str, str], ...]) -> Settings:
    """The settings by these fields and this environment. A run asks for them half a dozen times."""
    return read_settings(dict(given))


def _shown(settings: Settings, name: str) -> Any:
    """A setting as a field that Dagster may show: a secret by its variable."""
    value = getattr(settings, name)
    if name not in StoreResource.secrets:
        return value if isinstance(value, bool | int | float | str) else str(value)
    variable = StoreResource.secrets[name]
    if os.environ.get(variable) != value.get_secret_value():
        raise SettingsError(
            variable,
            "does not hold the secret that these settings do, and Dagster would show it. Set the variable, or give "
            f'the name of another one: StoreResource({name}=dg.EnvVar("...")).',
        )
    return dg.EnvVar(variable)


def _resolved(value: Any) -> Any:
    """What stands in the variable where a field is the name of one. Raises SettingsError if nothing does."""
    if not isinstance(value, dg.EnvVar | _IntEnvVar):
        return value
    found = os.environ.get(value.env_var_name)
    if not found:
        raise SettingsError(value.env_var_name, "is not set.")
    try:
        return _as(int if isinstance(value, _IntEnvVar) else str, found)
    except ValueError:
        raise SettingsError(value.env_var_name, "is not a whole number.") from None


def _as(kind: type, text: str | None) -> Any:
    """A variable's text as Dagster gives it to a field of this type."""
    return int(text) if kind is int and text is not None else text
