"""One pull in a process of its own, from its first import to its receipt. JSON on standard input says what to pull.

`store` is the store's address, `folder` holds its key, and the other fields are a connector's, as it is registered.
"""

import json
import sys
from functools import partial
from pathlib import Path

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.pull import run_pull, tune_garbage_collector
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import open_store


def main() -> None:
    order = json.loads(sys.stdin.read())
    store_url, folder = order.pop("store"), Path(order.pop("folder"))
    key = folder / "key"
    if not key.exists():
        key.write_text(new_fernet_key())
    settings = Settings(data_dir=folder, store_url=store_url, encryption_key=key.read_text(), pepper="p" * 32)
    store = open_store(settings, PULL_PATIENCE_SECONDS)
    given = NewConnector.model_validate(order)
    known = [connector for connector in store.connectors.list() if connector.name == given.name]
    connector = known[0] if known else store.connectors.add(given)
    receipt = store.pulls.begin(connector, "run")
    tune_garbage_collector()
    run_pull(store, connector, receipt, partial(open_source, connector.connector_type))


if __name__ == "__main__":
    main()
