"""MySQL and MariaDB: who may use the server's files, or administer it.

FILE is what LOAD_FILE and INTO OUTFILE need, which no read-only transaction stops. SUPER is the administrator's. Both
are global. PROCESS only shows what others do, and the watermark needs it; all other rights are for statements that are
no query.
"""

from collections.abc import Iterable

from qanatix_pipelines.errors import AccountTooStrong

# The account's own and its active roles'. A query cannot take on another role: that is a statement.
RIGHTS = "SHOW GRANTS"

_GLOBAL = "*.* TO "
_MEANINGS = {
    "ALL PRIVILEGES": "has all privileges on everything (ALL ON *.*)",
    "SUPER": "may administer the source (SUPER)",
    "FILE": "may read and write files of the source's machine (FILE)",
}


def check(grants: Iterable[str]) -> None:
    """Raise AccountTooStrong for the greatest right in the rows of `RIGHTS`."""
    found = set[str]()
    for grant in grants:
        rights, _, place = grant.removeprefix("GRANT ").partition(" ON ")
        if place.startswith(_GLOBAL):
            found.update(rights.split(", "))
    for right, meaning in _MEANINGS.items():
        if right in found:
            raise AccountTooStrong(meaning)
