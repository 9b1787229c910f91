"""Changes to the drivers that act on our own connections only, never on another user's.

Our definitions are imported into other people's processes, which may use the same drivers. A driver's modules and
loggers are shared by all its users in the process. So each change asks first whether the present work is ours.

`ours()` says that it is, in a context variable. We set it around each call of a driver. What the driver starts in such
a call inherits it: tasks, threads of `asyncio.to_thread`, and a transport's callbacks, which run in the context of the
call that began to read from it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from qanatix_pipelines.libraries import changed, found, named

CONNECT_SECONDS = 10
CLOSE_SECONDS = 3

# A first pull by integers starts from the least that 64 bits hold.
LEAST_INTEGER = -(2**63)

_Ours = TypeVar("_Ours")
_OURS: ContextVar[bool] = ContextVar("qanatix_ours", default=False)


@contextmanager
def ours() -> Iterator[None]:
    """A driver's work in this block is for a connection of ours."""
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def is_ours() -> bool:
    """Whether the present work is within `ours()`."""
    return _OURS.get()


class ModuleForOurs(ModuleType):
    """A module as one of its importers sees it. In our work, some of its names are replaced."""

    def __init__(self, module: ModuleType, replacements: dict[str, Any]) -> None:
        super().__init__(module.__name__, module.__doc__)
        self._module, self._replacements = module, replacements

    def __getattr__(self, name: str) -> Any:
        if is_ours() and name in self._replacements:
            return self._replacements[name]
        return getattr(self._module, name)


def replaced_in_module(importer: Any, module: str, **replacements: Any) -> None:
    """In our work, `module.name` in the module `importer` is the replacement that is given for the name.

    Other importers of `module` see it unchanged. Call this when a module of ours is imported. When that is reloaded,
    its new replacements take the place of the old ones. Raises LibraryChanged if `importer` has no such module, or the
    module no such name.
    """
    theirs = found(importer, module, ModuleType)
    for name in replacements:
        found(theirs, name, object)
    if isinstance(theirs, ModuleForOurs):
        theirs, replacements = theirs._module, theirs._replacements | replacements  # noqa: SLF001
    setattr(importer, module, ModuleForOurs(theirs, replacements))


def seeing(owner: Any, name: str, **names: Any) -> Any:
    """A copy of a driver's function or method that sees `names` in place of those of its module.

    It is for a class of ours that derives from the driver's. Nothing of the driver is replaced. Raises LibraryChanged
    if there is no such function, or if it uses no such name.
    """
    method = found(owner, name, object)
    theirs = getattr(method, "__func__", method)  # of a class method's
    if not isinstance(theirs, FunctionType) or not names.keys() <= set(theirs.__code__.co_names):
        raise changed(owner, f"{named(owner, name)} does not use {', '.join(names)}")
    copied = FunctionType(
        theirs.__code__, theirs.__globals__ | names, theirs.__name__, theirs.__defaults__, theirs.__closure__
    )
    copied.__kwdefaults__ = theirs.__kwdefaults__
    return copied


def overriding(theirs: type, *names: str) -> Callable[[type[_Ours]], type[_Ours]]:
    """For a class of ours that overrides these methods of a driver's class: one that is gone would never be called.

    Raises LibraryChanged if there is no such method.
    """
    for name in names:
        found(theirs, name, object)  # a compiled one is no FunctionType
    return lambda ours: ours


@contextmanager
def known(driver: str) -> Iterator[None]:
    """Raises LibraryChanged where one of the driver's private names, which are imported within this, is gone."""
    try:
        yield
    except (AttributeError, ImportError) as error:
        raise changed(driver, str(error)) from error


def quiet(driver: str) -> None:
    """Drop what the driver logs in our work, because it may log addresses and a server's words.

    A filter acts on the records of its own logger, not on those of the loggers below it. So each logger of the driver
    gets it, and the driver must be imported before.
    """
    names = [name for name in list(logging.root.manager.loggerDict) if name.startswith(f"{driver}.")]
    for name in (driver, *names):
        logging.getLogger(name).addFilter(_not_ours)  # a second time it is not added


def _not_ours(_record: logging.LogRecord) -> bool:
    return not is_ours()
