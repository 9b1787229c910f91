"""The roads through a running system on which it holds a secret: each is a function that walks one, and its ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.campaigns.journey import Journey

When = Literal["together", "alone", "last"]


@dataclass(frozen=True)
class Road:
    """`walk` gives a status, or a command's exit code: one of `ends`.

    Those that change what others need are walked alone, and those that nothing comes back from last.
    """

    name: str
    walk: Callable[[Journey], int]
    ends: tuple[int, ...]
    when: When
    deep: bool


ROADS: list[Road] = []


def road(*ends: int, when: When = "together", deep: bool = False) -> Callable[[Callable[[Journey], int]], None]:
    """Put a function among the roads."""

    def added(walk: Callable[[Journey], int]) -> None:
        ROADS.append(Road(walk.__name__.strip("_").replace("_", " "), walk, ends, when, deep))

    return added


def only(statuses: set[int]) -> int:
    """The end of many walks that must all end alike."""
    (status,) = statuses
    return status
