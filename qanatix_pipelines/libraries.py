"""Names of other people's libraries that we replace or rely on, though nobody promises that they stay."""

import re
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

_MISSING = object()


class LibraryChanged(RuntimeError):
    """A library is not as we know it. We stop, because what we change of it must not be lost silently."""


def replaced(owner: Any, name: str, replacement: Any, *, kind: type) -> Any:
    """Put `replacement` where `owner` (a module, a class or an object) has `name`. Returns what was there.

    Raises LibraryChanged if there is no such name, or if what it names is no `kind`, such as FunctionType or property.
    """
    theirs = found(owner, name, kind)
    setattr(owner, name, replacement)
    return theirs


def found(owner: Any, name: str, kind: type) -> Any:
    """What `owner` has by this name. Raises LibraryChanged as `replaced` does."""
    theirs = getattr(owner, name, _MISSING)
    if theirs is _MISSING or not isinstance(theirs, kind):
        lacks = "is gone" if theirs is _MISSING else f"is no {kind.__name__} but a {type(theirs).__name__}"
        raise changed(owner, f"{named(owner, name)} {lacks}")
    return theirs


def named(owner: Any, name: str) -> str:
    """How an error calls a name of `owner`."""
    return f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"


def changed(owner: Any, what: str) -> LibraryChanged:
    """The error that tells `what` has changed. `owner` is the library's name, or something of it."""
    module = owner if isinstance(owner, str) else getattr(owner, "__module__", getattr(owner, "__name__", ""))
    library = module.partition(".")[0]
    try:
        requirements = requires("qanatix-connectors") or ()
    except PackageNotFoundError:  # we run from a source tree that is not installed
        requirements = ()
    supported = [one for one in requirements if re.match(rf"{library}\b", one)]
    known = f" Supported is {supported[0]}." if supported else ""
    return LibraryChanged(f"{what}: this version of the library is not known to us.{known}")
