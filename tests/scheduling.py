"""Which modules run in one worker together, and which begin first.

What waits for Dagster's daemon leaves the processor to others. So it begins first, in one worker, while the others do
what computes most; what waits for other things comes after that.
"""

import pytest
from xdist.scheduler import LoadFileScheduling

# They ask for the running stack, of which one worker has one. In this order.
WITH_STACK = (
    "tests/test_backfills.py",
    "tests/campaigns/test_dagster.py",
    "tests/campaigns/test_cancelling.py",
    "tests/campaigns/test_kill_among_others.py",
    "tests/test_worker.py",
    "tests/test_round_trip.py",
    "tests/test_client.py",
    "tests/test_progress.py",
    "tests/test_look_first.py",
)
# What takes longest: no worker is to begin one of them when the others are done. First those that compute.
_LONGEST = (
    "tests/test_every_source.py",
    "tests/campaigns/test_kill.py",
    "tests/campaigns/test_model.py",
    "tests/campaigns/test_tenants.py",
    "tests/campaigns/test_network.py",
    "tests/test_repeated_keys.py",
    "tests/test_code_server.py",
    "tests/campaigns/test_mutants.py",
    "tests/campaigns/test_hostile_queries.py",
    "tests/campaigns/test_scale_out.py",
    "tests/campaigns/test_memory.py",
    "tests/sources/mongodb/test_reading.py",
    "tests/test_dagster_pages.py",
    "tests/sources/postgresql/test_settings.py",
    "tests/sources/mysql/test_settings.py",
    "tests/sources/mysql/test_last_pull.py",
    "tests/test_guest.py",
    "tests/test_demo.py",
)
_ORDER = [*WITH_STACK, *_LONGEST]


class Scheduling(LoadFileScheduling):
    """A module's tests run in one worker, and so do all modules with the running stack."""

    def _split_scope(self, nodeid: str) -> str:
        module = super()._split_scope(nodeid)
        return WITH_STACK[0] if module in WITH_STACK else module


def module_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def place_of(item: pytest.Item) -> int:
    """Where its module stands in the order of all."""
    module = module_of(item)
    return _ORDER.index(module) if module in _ORDER else len(_ORDER)
