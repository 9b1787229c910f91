"""A server's clock that a test sets, by libfaketime: preloaded, it reads from a file how far the clock is off."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.servers import ServerMissing


@dataclass(frozen=True)
class Clock:
    """`file` must be readable by the server, and lie in a folder of its own."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the server is started with. Timers go on undisturbed."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def put_off(self, by: timedelta) -> None:
        """Let it show so much more than our own, or less."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{by.total_seconds():+f}\n")
        written.chmod(0o644)
        written.replace(self.file)  # at once: a server reads it every time

    def put_to(self, instant: datetime) -> None:
        """Let it show this now, and go on."""
        self.put_off(instant - datetime.now(UTC))


def new_clock(folder: Path) -> Clock:
    """A right one. Raises ServerMissing where there is no libfaketime."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        raise ServerMissing("The clock of no server can be set: libfaketime is not installed.")
    clock = Clock(folder / "clock", libraries[0])
    clock.put_off(timedelta(0))
    return clock
