"""SCRAM has the client hash its password as often as the server says (RFC 5802), in which nothing can interrupt it.

A server that says two thousand million times would hold a pull, its deadlines and its sign of life for an hour.
"""

import hashlib
from typing import Any

from qanatix_pipelines.errors import LoginRefused

MAX_ITERATIONS = 2_000_000  # about a second; servers ask for 4,096 to 600,000


class Hashing:
    """`hashlib`, as a driver sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(hashlib, name)

    @staticmethod
    def pbkdf2_hmac(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        """Raises LoginRefused before it would take too long."""
        if iterations > MAX_ITERATIONS:
            raise LoginRefused("The source asks for more hashing of the password than a login may take.")
        return hashlib.pbkdf2_hmac(name, password, salt, iterations)
