"""Credentials at rest."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.settings import new_fernet_key

OLD, NEW = new_fernet_key(), new_fernet_key()
CONNECTOR = uuid4()
CONFIG = {"dsn": "postgresql://me:hunter2@db/shop"}


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()))
def test_what_was_encrypted_is_decrypted(config: dict[str, object]) -> None:
    cipher = CredentialCipher([NEW])

    assert cipher.decrypt(CONNECTOR, cipher.encrypt(CONNECTOR, config)) == config


def test_the_token_shows_nothing_of_the_config() -> None:
    assert "hunter2" not in CredentialCipher([NEW]).encrypt(CONNECTOR, CONFIG)


def test_every_key_decrypts() -> None:
    token = CredentialCipher([OLD]).encrypt(CONNECTOR, CONFIG)

    assert CredentialCipher([NEW, OLD]).decrypt(CONNECTOR, token) == CONFIG


def test_the_first_key_encrypts() -> None:
    token = CredentialCipher([NEW, OLD]).encrypt(CONNECTOR, CONFIG)

    assert CredentialCipher([NEW]).decrypt(CONNECTOR, token) == CONFIG


def test_without_its_key_a_token_is_unreadable() -> None:
    token = CredentialCipher([OLD]).encrypt(CONNECTOR, CONFIG)

    with pytest.raises(CredentialsUnreadable, match="CONNECTOR_ENCRYPTION_KEY"):
        CredentialCipher([NEW]).decrypt(CONNECTOR, token)


def test_a_token_moved_to_another_connector_is_unreadable() -> None:
    cipher = CredentialCipher([NEW])

    with pytest.raises(CredentialsUnreadable):
        cipher.decrypt(uuid4(), cipher.encrypt(CONNECTOR, CONFIG))
