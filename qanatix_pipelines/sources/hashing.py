"""SCRAM has the client hash its password as often as the server says (RFC 5802), and nothing can interrupt that.

A server that says two thousand million times would hold a pull, its deadlines and its heartbeat for an hour.
"""

import hashlib
from typing import Any

from qanatix_pipelines.errors import LoginRefused
from qanatix_pipelines.sources.driver import replaced_in_module

MAX_ITERATIONS = 2_000_000  # about a second; servers ask for 4,096 to 600,000


def check_iterations(iterations: int) -> None:
    """Raises LoginRefused at once if it would take too long."""
    if iterations > MAX_ITERATIONS:
        raise LoginRefused("The source asks for more hashing of the password than a login may take.")


def bound_hashing(driver: Any) -> None:
    """Bound `hashlib.pbkdf2_hmac` in one of a driver's modules, for our own connections."""
    replaced_in_module(driver, "hashlib", pbkdf2_hmac=_bounded)


def _bounded(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    check_iterations(iterations)
    return hashlib.pbkdf2_hmac(name, password, salt, iterations)
