"""A library's name that we replace is replaced, or its absence is told: never neither."""

from importlib.metadata import PackageNotFoundError
from types import FunctionType, ModuleType

import pytest
from alembic.script import ScriptDirectory

from qanatix_pipelines import libraries
from qanatix_pipelines.launcher import revisions
from qanatix_pipelines.libraries import LibraryChanged, changed, replaced


@pytest.fixture
def library():
    module = ModuleType("a_library")
    module.told = lambda: "theirs"
    module.hashlib = ModuleType("a_hashlib")
    return module


def test_a_name_that_is_replaced_gives_back_what_was_there(library):
    theirs = library.told

    assert replaced(library, "told", lambda: "ours", kind=FunctionType) is theirs
    assert library.told() == "ours"


def test_a_name_that_is_gone_is_not_replaced_in_silence(library):
    with pytest.raises(LibraryChanged, match=r"a_library\.asked is gone"):
        replaced(library, "asked", lambda: "ours", kind=FunctionType)

    assert not hasattr(library, "asked")


def test_a_name_of_another_kind_is_not_replaced(library):
    with pytest.raises(LibraryChanged, match=r"a_library\.hashlib is no function but a module"):
        replaced(library, "hashlib", lambda: "ours", kind=FunctionType)


def test_a_source_tree_that_is_not_installed_tells_what_changed_without_the_supported_version(monkeypatch):
    def requires(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(libraries, "requires", requires)

    assert str(changed("pymongo", "It is gone")).endswith("is not known to us.")


def test_a_reader_of_migrations_that_is_gone_is_told_with_the_supported_version(monkeypatch):
    monkeypatch.delattr(ScriptDirectory, "from_config")

    with pytest.raises(LibraryChanged, match=r"ScriptDirectory\.from_config is gone: .*Supported is alembic"):
        revisions.remember()
