"""How often one may ask: so many requests of a kind in any minute for each key, and failed keys for each address.

Counted in this process: where several serve the API, each allows as much.
"""

import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from qanatix_pipelines.settings import Settings

_CUSTOMER_BITS = 64  # of an address of version 6: what one customer is given


@dataclass(frozen=True)
class Allowance:
    """What is said of one request. In `reset` seconds, rounded up, the oldest one of this minute is forgotten."""

    granted: bool
    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """The headers that tell it."""
        told = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }
        return told if self.granted else told | {"Retry-After": str(self.reset)}


class Rates:
    """All limits of one process."""

    def __init__(self, settings: Settings) -> None:
        self._counts = MovingWindowRateLimiter(MemoryStorage())
        self._reads = RateLimitItemPerMinute(settings.reads_per_minute, namespace="reads")
        self._writes = RateLimitItemPerMinute(settings.writes_per_minute, namespace="writes")
        self._pulls = RateLimitItemPerMinute(settings.pulls_per_minute, namespace="pulls")
        self._failures = RateLimitItemPerMinute(settings.failed_keys_per_minute, namespace="failures")

    def request(self, key_id: str, method: str, path: str) -> Allowance:
        """Whether a key may ask this now."""
        if method in ("GET", "HEAD"):
            return self._count(self._reads, key_id)
        return self._count(self._pulls if path.endswith("/pull") else self._writes, key_id)

    def failure(self, client: str) -> Allowance:
        """Whether a caller at this address may be told once more that its key is wrong."""
        return self._count(self._failures, _customer(client))

    def _count(self, limit: RateLimitItemPerMinute, whose: str) -> Allowance:
        granted = self._counts.hit(limit, whose)
        window = self._counts.get_window_stats(limit, whose)
        reset = max(1, math.ceil(window.reset_time - time.time()))
        return Allowance(granted, limit.amount, window.remaining, reset)


def _customer(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    return str(IPv6Network((int(address), _CUSTOMER_BITS), strict=False))
