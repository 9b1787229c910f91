"""API keys over HTTP: make, list, rotate, revoke."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, status
from pydantic import BaseModel, ConfigDict, Field

from qanatix_api import audit
from qanatix_api.auth import check_scopes, needs
from qanatix_api.failures import problem
from qanatix_api.services import Given
from qanatix_pipelines.connectors import Name
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.keys import USUAL_SCOPES, ApiKey, KeyRecord, Scope

MAX_DAYS = 3650
MAX_GRACE_SECONDS = 30 * 24 * 3600

router = APIRouter(prefix="/auth/keys", tags=["keys"])

Admin = Annotated[KeyRecord, needs(Scope.ADMIN)]
KeyId = Annotated[str, Path(pattern="^[0-9a-f]{8}$")]


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Name = Field(description="What the key is for.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = Field(
        sorted(USUAL_SCOPES), description="What it allows; none that the caller's own key does not."
    )
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = Field(
        None, description="When it ends; null for never."
    )


class Rotation(BaseModel):
    """How to rotate a key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=MAX_GRACE_SECONDS)] = Field(
        0, description="How long the old secret is still good."
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
    """A key, with its secret: shown this once."""

    key: str = Field(description="Keep it: only a keyed hash is stored.", examples=["sk_live_***"])


@router.post("", status_code=status.HTTP_201_CREATED, summary="Make an API key")
def create_key(given: Given, caller: Admin, new: NewKey) -> SecretAnswer:
    """A key is shown once, in this answer."""
    scopes = frozenset(new.scopes)
    check_scopes(caller, scopes)
    expires_in = None if new.expires_in_days is None else timedelta(days=new.expires_in_days)
    key = given.keys.create(new.name, scopes, expires_in)
    audit.record(caller, "key.created", key.id)
    return _with_secret(given, key)


@router.get("", summary="List API keys")
def list_keys(given: Given, _: Admin) -> list[KeyAnswer]:
    """All keys, those that are revoked or at their end too; the oldest first."""
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
    responses={404: problem("There is no such key, or it is revoked or at its end.")},
)
def rotate_key(given: Given, caller: Admin, key_id: KeyId, how: Rotation | None = None) -> SecretAnswer:
    """Give a key a new secret: the id, the scopes and the end stay. The secret before the last is good no more."""
    check_scopes(caller, given.keys.get(key_id).scopes)  # or it would gain them by the new secret
    grace = timedelta(seconds=0 if how is None else how.grace_seconds)
    key = given.keys.rotate(key_id, grace)
    audit.record(caller, "key.rotated", key_id)
    return _with_secret(given, key)


def _with_secret(given: Given, key: ApiKey) -> SecretAnswer:
    return SecretAnswer(**_shown(given.keys.get(key.id)), key=key.text)


def _shown(record: KeyRecord) -> dict[str, object]:
    return vars(record) | {"scopes": sorted(record.scopes)}
