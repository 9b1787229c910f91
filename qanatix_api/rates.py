"""How often one may ask: a bucket of tokens for each key and kind of request, and one of failed keys for each address.

A bucket is full at first, loses a token by each request, and gains them back evenly over a minute. Buckets are this
process's own: where several serve the API, each allows as much.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from qanatix_pipelines.settings import Settings

_MINUTE = 60 * 10**9  # nanoseconds
_SECOND = 10**9
_MANY = 10_000  # buckets, at which those that are full again are thrown away
_CUSTOMER_BITS = 64  # of an address of version 6: what one customer is given


@dataclass(frozen=True)
class Allowance:
    """What a bucket says of one request. Seconds are whole and rounded up."""

    granted: bool
    limit: int
    remaining: int
    full_in: int
    next_in: int

    def headers(self) -> dict[str, str]:
        """The headers that tell it."""
        told = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.full_in),
        }
        return told if self.granted else told | {"Retry-After": str(self.next_in)}


class Buckets:
    """Buckets of `limit` tokens each. `clock` gives nanoseconds."""

    def __init__(self, limit: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._limit, self._clock = limit, clock
        self._pace = _MINUTE // limit
        self._full_at: dict[str, int] = {}  # of each bucket that is not full: when it will be
        self._sweep_at = _MANY

    def take(self, whose: str) -> Allowance:
        """Take a token, if there is one."""
        at = self._clock()
        growing = max(self._full_at.get(whose, at) - at, 0)
        granted = growing <= self._pace * (self._limit - 1)
        if granted:
            growing += self._pace
            self._full_at[whose] = at + growing
            self._sweep(at)
        return Allowance(
            granted=granted,
            limit=self._limit,
            remaining=self._limit - math.ceil(growing / self._pace),
            full_in=math.ceil(growing / _SECOND),
            next_in=math.ceil((growing - self._pace * (self._limit - 1)) / _SECOND),
        )

    def _sweep(self, at: int) -> None:
        if len(self._full_at) > self._sweep_at:
            self._full_at = {whose: full_at for whose, full_at in self._full_at.items() if full_at > at}
            self._sweep_at = max(_MANY, 2 * len(self._full_at))


class Rates:
    """All limits of one process."""

    def __init__(self, settings: Settings) -> None:
        self._reads = Buckets(settings.reads_per_minute)
        self._writes = Buckets(settings.writes_per_minute)
        self._pulls = Buckets(settings.pulls_per_minute)
        self._failures = Buckets(settings.failed_keys_per_minute)

    def request(self, key_id: str, method: str, path: str) -> Allowance:
        """Whether a key may ask this now."""
        if method in ("GET", "HEAD"):
            return self._reads.take(key_id)
        return (self._pulls if path.endswith("/pull") else self._writes).take(key_id)

    def failure(self, client: str) -> Allowance:
        """Whether a caller at this address may be told once more that its key is wrong."""
        return self._failures.take(_customer(client))


def _customer(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    return str(IPv6Network((int(address), _CUSTOMER_BITS), strict=False))
