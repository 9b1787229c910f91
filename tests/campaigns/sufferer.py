"""A process that pulls from hostile servers, one after the other, and tells how each pull ended and what it took.

A line of JSON in, `[connector_type, config, query]`; a line out, the fields of `Suffered`. Its memory is limited.
"""

import json
import logging
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.errors import PullError
from qanatix_pipelines.pull import Limits, run_pull
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import connector_types, open_source, source_of
from qanatix_pipelines.store.opening import Store, open_store

DEADLINE = 2
LIMITS = Limits(answer_seconds=DEADLINE, pull_seconds=DEADLINE, pauses=())
# Beyond what it has when it begins: what may surely be taken, and more than a pull should take.
ADDRESS_SPACE = 2 * 2**30


class Suffered(NamedTuple):
    """`code` is None for a pull that completed; `grown` MiB were resident at the most beyond what was before."""

    code: str | None
    said: str
    seconds: float
    grown: float


def main(folder: Path) -> None:
    logging.basicConfig(level=logging.DEBUG)  # on stderr, which is looked through for what a server said
    store = open_store(Settings(data_dir=folder, encryption_key=new_fernet_key(), pepper="p" * 32))
    for connector_type in connector_types():
        source_of(connector_type)
    limit = _status("VmSize") * 1024 + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        print(json.dumps(suffer(store, *json.loads(line))), flush=True)


def suffer(store: Store, connector_type: str, config: dict[str, object], query: str) -> Suffered:
    new = NewConnector(
        name="Case",
        connector_type=connector_type,
        vertical="testing",
        entity_type="case",
        connection_config=config,
        query=query,
    )
    connector = store.connectors.add(new)
    receipt = store.pulls.begin(connector, f"run-{uuid4()}")
    Path("/proc/self/clear_refs").write_text("5")  # the greatest resident size begins anew
    before, began = _status("VmRSS"), time.monotonic()
    code: str | None = None
    try:
        run_pull(store, connector, receipt, partial(open_source, connector_type), limits=LIMITS)
    except PullError as error:
        code = error.code
    except Exception as error:  # noqa: BLE001  # a fault of ours, which is what is looked for
        code = f"unexpected {type(error).__name__}"
    seconds = time.monotonic() - began
    told = store.pulls.get(receipt.id)
    return Suffered(code, f"{told.error_code} {told.error_detail}", seconds, (_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
