"""Endpoints that make, list, rotate and revoke API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, status
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.failures import problem
from qanatix_api.repeats import REPEATABLE
from qanatix_api.services import Given
from qanatix_api.times import Time
from qanatix_pipelines.connectors import Name
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.keys import OTHER_SCOPES, USUAL_SCOPES, ApiKey, KeyRecord, Scope

MAX_DAYS = 3650
MAX_GRACE_SECONDS = 30 * 24 * 3600

router = APIRouter(prefix="/auth/keys", tags=["keys"])

Admin = Annotated[KeyRecord, needs(Scope.ADMIN)]
KeyId = Annotated[str, Path(pattern="^[0-9a-f]{8}$")]


def _ours(words: object) -> object:
    """A list of scopes in which the vendor's words are replaced by what they mean here."""
    if not isinstance(words, list):
        return words
    if "search" in words:
        raise ValueError("must not have search: there is nothing here that it would allow")
    scopes: list[object] = []
    for word in words:
        meant = sorted(OTHER_SCOPES.get(word, ())) if isinstance(word, str) else ()
        scopes += [scope for scope in meant or [word] if scope not in scopes]
    return scopes


_Word = Scope | Literal["ingest", "upload", "entities", "records"]
Scopes = Annotated[
    list[Scope],
    BeforeValidator(_ours, json_schema_input_type=list[_Word]),
    Field(min_length=1, max_length=len(Scope) + len(OTHER_SCOPES)),
]


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Name = Field(description="What the key is for.")
    scopes: Scopes = Field(
        sorted(USUAL_SCOPES),
        description=(
            "What it allows; `admin` implies all. `ingest` and `upload` mean `connectors:read`, `connectors:write` and "
            "`pulls:run`; `entities` and `records` mean `entities:read`."
        ),
    )
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = Field(
        None, description="When it expires. Null for never."
    )
    expires_at: Time | None = Field(
        None, description="The same as a time with its zone. At most one of the two may be given."
    )

    @field_validator("expires_at", mode="after")
    @classmethod
    def _to_come(cls, given: datetime | None, others: ValidationInfo) -> datetime | None:
        if given is None:
            return None
        if others.data.get("expires_in_days") is not None:
            raise ValueError("must not be given beside expires_in_days")
        if not timedelta(0) < given - datetime.now(UTC) <= timedelta(days=MAX_DAYS):
            raise ValueError(f"must be later than now, by {MAX_DAYS} days at most")
        return given.astimezone(UTC)


class Rotation(BaseModel):
    """How to rotate a key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=MAX_GRACE_SECONDS)] = Field(
        0, description="How long the old secret stays valid."
    )


class KeyAnswer(BaseModel):
    """A key, without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class SecretAnswer(KeyAnswer):
    """A key with its secret, which is shown only once."""

    key: str = Field(description="Keep it: only a keyed hash is stored.", examples=["sk_live_***"])


@router.post("", status_code=status.HTTP_201_CREATED, summary="Make an API key", dependencies=REPEATABLE)
def create_key(given: Given, caller: Admin, new: NewKey) -> SecretAnswer:
    """A key is shown once, in this answer."""
    expires_in = None if new.expires_in_days is None else timedelta(days=new.expires_in_days)
    key = given.keys.create(new.name, frozenset(new.scopes), expires_in, expires_at=new.expires_at)
    audit.record(caller, "key.created", key.id)
    return _with_secret(given, key)


@router.get("", summary="List API keys")
def list_keys(given: Given, _: Admin) -> list[KeyAnswer]:
    """All keys, oldest first, with those that are revoked or expired."""
    return [KeyAnswer(**_shown(record)) for record in given.keys.list()]


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Revoke an API key",
    responses={404: problem("There is no such key, or it is revoked.")},
)
def revoke_key(given: Given, caller: Admin, key_id: KeyId) -> None:
    """Refuse a key from now on, with each of its secrets. Its record stays."""
    if not given.keys.revoke(key_id):
        raise NotFound("key")
    audit.record(caller, "key.revoked", key_id)


@router.post(
    "/{key_id}/rotate",
    summary="Rotate an API key",
    dependencies=REPEATABLE,
    responses={404: problem("There is no such key, or it is revoked or expired.")},
)
def rotate_key(given: Given, caller: Admin, key_id: KeyId, how: Rotation | None = None) -> SecretAnswer:
    """Give a key a new secret. Id, scopes and expiry stay. Of the old secrets, only the last one can stay valid."""
    grace = timedelta(seconds=0 if how is None else how.grace_seconds)
    key = given.keys.rotate(key_id, grace)
    audit.record(caller, "key.rotated", key_id)
    return _with_secret(given, key)


def _with_secret(given: Given, key: ApiKey) -> SecretAnswer:
    return SecretAnswer(**_shown(given.keys.get(key.id)), key=key.text)


def _shown(record: KeyRecord) -> dict[str, object]:
    return vars(record) | {"scopes": sorted(record.scopes)}
