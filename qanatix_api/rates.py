"""Rate limits: requests per minute of each kind for each key, and failed keys per minute for each address.

Each process counts for itself, so several processes together allow a multiple.
"""

import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from qanatix_pipelines.settings import Settings

_CUSTOMER_BITS = 64  # the prefix of an IPv6 address that one customer usually gets


@dataclass(frozen=True)
class Allowance:
    """The decision on one request. In `reset` seconds, rounded up, the oldest request leaves the window."""

    granted: bool
    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """The X-RateLimit headers, and Retry-After if it is refused."""
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
        """Count a request of a key, and decide whether it is allowed now."""
        if method in ("GET", "HEAD"):
            return self._count(self._reads, key_id)
        return self._count(self._pulls if path.endswith(("/pull", "/test")) else self._writes, key_id)

    def failure(self, client: str) -> Allowance:
        """Count a failed key of this address, and decide whether it is answered 401 or 429."""
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
