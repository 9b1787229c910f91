"""Credentials at rest."""

import json
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from qanatix_api.connector_requests import ConnectorChanges, ConnectorRequest
from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import connector_types, source_of
from qanatix_pipelines.tenants import DEFAULT, Tenant

OLD, NEW = new_fernet_key(), new_fernet_key()
CONNECTOR = uuid4()
TENANT = Tenant("acme")
CONFIG = {"dsn": "postgresql://me:hunter2@db/shop"}


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()))
def test_what_was_encrypted_is_decrypted(config: dict[str, object]) -> None:
    cipher = CredentialCipher([NEW])

    assert cipher.decrypt(TENANT, CONNECTOR, cipher.encrypt(TENANT, CONNECTOR, config)) == config


def test_the_token_shows_nothing_of_the_config() -> None:
    assert "hunter2" not in CredentialCipher([NEW]).encrypt(TENANT, CONNECTOR, CONFIG)


def test_every_key_decrypts() -> None:
    token = CredentialCipher([OLD]).encrypt(TENANT, CONNECTOR, CONFIG)

    assert CredentialCipher([NEW, OLD]).decrypt(TENANT, CONNECTOR, token) == CONFIG


def test_the_first_key_encrypts() -> None:
    token = CredentialCipher([NEW, OLD]).encrypt(TENANT, CONNECTOR, CONFIG)

    assert CredentialCipher([NEW]).decrypt(TENANT, CONNECTOR, token) == CONFIG


def test_without_its_key_a_token_is_unreadable() -> None:
    token = CredentialCipher([OLD]).encrypt(TENANT, CONNECTOR, CONFIG)

    with pytest.raises(CredentialsUnreadable, match="CONNECTOR_ENCRYPTION_KEY"):
        CredentialCipher([NEW]).decrypt(TENANT, CONNECTOR, token)


def test_a_token_moved_to_another_connector_is_unreadable() -> None:
    cipher = CredentialCipher([NEW])

    with pytest.raises(CredentialsUnreadable):
        cipher.decrypt(TENANT, uuid4(), cipher.encrypt(TENANT, CONNECTOR, CONFIG))


def test_a_token_whose_row_was_given_to_another_tenant_is_unreadable() -> None:
    cipher = CredentialCipher([NEW])

    with pytest.raises(CredentialsUnreadable):
        cipher.decrypt(DEFAULT, CONNECTOR, cipher.encrypt(TENANT, CONNECTOR, CONFIG))


def test_a_token_from_before_there_were_tenants_is_of_the_default_one() -> None:
    cipher = CredentialCipher([NEW])
    sealed = json.dumps({"v": 1, "connector_id": str(CONNECTOR), "config": CONFIG})
    token = Fernet(NEW).encrypt(sealed.encode()).decode()

    assert cipher.decrypt(DEFAULT, CONNECTOR, token) == CONFIG
    with pytest.raises(CredentialsUnreadable):
        cipher.decrypt(TENANT, CONNECTOR, token)


@pytest.mark.parametrize(
    "model",
    [
        Settings,
        NewConnector,
        ConnectorRequest,
        ConnectorChanges,
        *(source_of(kind).config_type for kind in connector_types()),
    ],
)
def test_what_is_given_credentials_repeats_no_input_in_its_errors(model: type[BaseModel]) -> None:
    assert model.model_config["hide_input_in_errors"] is True
