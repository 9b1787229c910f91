"""One pull in a process of its own, which tells how much memory it took.

Its order is JSON on its standard input: what is read, and the folder of the store that it goes to, or null where the
rows are made entities and dropped. So is its answer: rows, seconds, and the bytes that were resident before, `idle`,
and at most, `peak`.
"""

import asyncio
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.entities import EntityMaker
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import open_store
from qanatix_pipelines.watermarks import Window

SECONDS = 3000


@dataclass(frozen=True)
class Weight:
    rows: int
    seconds: float
    idle: int
    peak: int

    @property
    def above_idle(self) -> int:
        return self.peak - self.idle


def weighed(
    connector_type: str,
    config: dict[str, Any],
    query: str,
    *,
    batch_size: int,
    store: Path | None = None,
    folders: Sequence[Path] = (),
) -> Weight:
    """What a process tells that does it. `folders` are open to pulls."""
    order = {
        "name": "Weighed",
        "vertical": "testing",
        "entity_type": "item",
        "connector_type": connector_type,
        "connection_config": config,
        "query": query,
        "batch_size": batch_size,
        "store": store and str(store),
        "folders": [str(folder) for folder in folders],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.weighed"],
        input=json.dumps(order),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Weight(**json.loads(done.stdout))


def _pull(given: dict[str, Any], folder: Path) -> int:
    settings = Settings(data_dir=folder, encryption_key=new_fernet_key(), pepper="a pepper of this process's own")
    store = open_store(settings, PULL_PATIENCE_SECONDS)  # as a run does
    connector = store.connectors.add(NewConnector.model_validate(given))
    receipt = store.pulls.begin(connector, "run")
    return run_pull(store, connector, receipt, partial(open_source, connector.connector_type)).receipt.records_ingested


async def _read(given: dict[str, Any], folders: Sequence[Path]) -> int:
    connector = NewConnector.model_validate(given)
    source = open_source(connector.connector_type, given["connection_config"], folders=folders)
    rows = 0
    async with source.read(connector.query, window=Window(), batch_size=connector.batch_size) as reading:
        maker = EntityMaker(connector, reading.id_column)
        async for batch in reading.batches:
            rows += maker.make(batch).frame.height
    return rows


def _memory(field: str) -> int:
    """Of this process, in bytes: VmRSS is what is resident, VmHWM the most that ever was."""
    status = Path("/proc/self/status")
    if not status.exists():  # macOS, which tells the most only
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = re.search(rf"^{field}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    given = json.loads(sys.stdin.read())
    folder, folders = given.pop("store"), [Path(folder) for folder in given.pop("folders")]
    open_source(given["connector_type"], given["connection_config"])  # imports its driver, or most of it
    idle, started = _memory("VmRSS"), time.monotonic()
    rows = asyncio.run(_read(given, folders)) if folder is None else _pull(given, Path(folder))
    print(json.dumps(asdict(Weight(rows, time.monotonic() - started, idle, _memory("VmHWM")))))


if __name__ == "__main__":
    main()
