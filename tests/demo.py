"""`make demo`: the whole road, for a person to watch. Starts everything, registers a connector, pulls it twice.

With --once it exits after the pulls, 0 only if they did as they should; else it runs until Ctrl-C. With --all it also
pulls a database of every other connector type, where such a server can be had, and keeps these up meanwhile.
"""

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from tests import stack as stacks
from tests.servers import Server, ServerMissing, free_port
from tests.sources.databases import DATABASES, Database
from tests.sources.postgresql import server as postgresql

FOLDER = stacks.ROOT / ".demo"
QUERY = "SELECT * FROM products WHERE updated_at > :last_pull"

# 2,841 products, six of which stand there twice, changed over the last year but not within the overlap of a pull.
PRODUCTS = """
CREATE TABLE products (
  id int NOT NULL, product_name text NOT NULL, sku text NOT NULL, price numeric(10, 2) NOT NULL,
  in_stock boolean NOT NULL, tags text[] NOT NULL, attributes jsonb NOT NULL, updated_at timestamptz NOT NULL
);
INSERT INTO products
SELECT n, material || ' ' || part || ' ' || n, 'SKU-' || lpad(n::text, 5, '0'), 5 + (n * 37 % 20000) / 100.0,
  n % 7 <> 0, ARRAY[lower(material), lower(part)],
  jsonb_build_object('weight_kg', round((n % 900) / 10.0, 1), 'origin', (ARRAY['DE', 'CZ', 'IT'])[1 + n % 3]),
  date_trunc('hour', now()) - interval '1 day' - n * interval '3 hours'
FROM (
  SELECT n, (ARRAY['Steel', 'Brass', 'Copper', 'Nylon', 'Oak'])[1 + n % 5] AS material,
    (ARRAY['Bolt', 'Bracket', 'Valve', 'Gasket', 'Hinge', 'Rail'])[1 + n % 6] AS part
  FROM generate_series(1, 2841) AS n
) AS made;
INSERT INTO products SELECT * FROM products WHERE id % 500 = 100;
"""
CHANGES = """
UPDATE products SET price = price + 1, updated_at = now() WHERE id IN (7, 8, 9);
INSERT INTO products
SELECT 2841 + n, 'New Part ' || n, 'SKU-NEW-' || n, 9.90, true, ARRAY['new'], '{}', now() FROM generate_series(1, 2) n;
"""
FIRST = {"records_pulled": 2847, "records_ingested": 2841, "duplicates_skipped": 6, "records_rejected": 0}
SECOND = {"records_pulled": 5, "records_ingested": 5, "duplicates_skipped": 0, "records_rejected": 0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the pulls, 0 only if they worked")
    parser.add_argument("--all", action="store_true", help="also pull a database of every other connector type")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the demo keeps its data")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the shell that starts us ignores it
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))
    try:
        with alone(options.folder):
            return run(options.folder, once=options.once, every=options.all)
    except KeyboardInterrupt:
        return 1 if options.once else 0
    except (ServerMissing, RuntimeError) as error:
        say(str(error))
        return 1


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder, empty and locked. Raises RuntimeError if another demo runs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"A demo is already running, with its data in {folder}. Stop it first.") from None
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        os.close(lock)


def run(folder: Path, *, once: bool, every: bool) -> int:
    """Everything that is started here is stopped here."""
    say("Starting a throwaway PostgreSQL with a table of products ...")
    source = postgresql.start()
    with ExitStack() as servers:
        servers.callback(source.stop)
        try:
            return _run(folder, source, servers, once=once, every=every)
        finally:
            stop_undisturbed()


def _run(folder: Path, source: Server, servers: ExitStack, *, once: bool, every: bool) -> int:
    with psycopg.connect(source.address) as connection:
        connection.execute(PRODUCTS)
    say(f"PostgreSQL {source.version} is up. Starting Dagster and the API ...")
    stack = stacks.start(folder, api_port=preferred(8000), dagster_port=preferred(3000))
    try:
        key = stack.command("keys", "create", "--name", "demo")
        with client(stack, key) as api:
            worked = tour(api, source)
            if not once:
                invite(stack, source, key)
            if every:
                for name, database in DATABASES.items():
                    worked &= show(api, stack, name, database, servers, stays=not once)
        if not once:
            say("Running. Ctrl-C stops all of it.")
            ended = stack.wait()
            say(f"{ended} has ended by itself; the end of its log:\n{stack.log_end(ended)}")
            return 1
        return 0 if worked else 1
    finally:
        stop_undisturbed()
        say("Stopping ...")
        stack.stop()


def stop_undisturbed() -> None:
    """From here on a second Ctrl-C, or make's own signal beside the terminal's, must not leave a server running."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)


def tour(api: httpx2.Client, source: Server) -> bool:
    """Register and pull over REST, as anyone would. Whether both pulls counted what they should."""
    connector = shown(
        "POST /connectors",
        api.post(
            "/connectors",
            json={
                "name": "Demo products",
                "connector_type": "postgresql",
                "vertical": "manufacturing",
                "entity_type": "product",
                "connection_config": {"dsn": source.address},
                "query": QUERY,
                "name_column": "product_name",
            },
        ),
    )
    pull = f"/connectors/{connector['id']}/pull"
    first = shown("POST /connectors/{id}/pull", api.post(pull))
    with psycopg.connect(source.address) as connection:
        connection.execute(CHANGES)
    say("Three products changed and two were added in the source; only they are pulled now:")
    second = shown("POST /connectors/{id}/pull", api.post(pull))
    say("It began where the first one had stopped, less five minutes; this is where the next one begins:")
    shown("GET /connectors/{id}/watermark", api.get(f"/connectors/{connector['id']}/watermark"))
    shown("GET /entities", api.get("/entities", params={"vertical": "manufacturing", "limit": 1}))
    return FIRST.items() <= first.items() and SECOND.items() <= second.items()


def invite(stack: stacks.Stack, source: Server, key: str) -> None:
    """Say where everything is, for as long as it runs."""
    environment = stack.folder / "env"
    environment.touch(mode=0o600)
    given = {
        "QANATIX_URL": f"{stack.api_url}/api/v1",
        "QANATIX_KEY": key,
        "DEMO_DSN": source.address,
        "QANATIX_API_URL": stack.api_url,
        "QANATIX_API_KEY": key,
        "QANATIX_DATA_DIR": stack.environment["QANATIX_DATA_DIR"],
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in given.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n')
    environment.write_text("".join(lines))
    say(
        f"Dagster's UI   {stack.dagster_url}/assets/connectors/postgresql\n"
        f"API docs       {stack.api_url}/docs\n"
        f"API key        {key}\n"
        f"To call it     . {environment}   # for the README's curl calls, and for qanatix on this store"
    )


def show(
    api: httpx2.Client, stack: stacks.Stack, name: str, database: Database, servers: ExitStack, *, stays: bool
) -> bool:
    """Register and pull one more database, whose server is stopped with `servers`. If it `stays`, say how to reach it.

    Whether that worked; a server that cannot be had is told and is no fault.
    """
    if database.harness.connector_type == "postgresql":
        return True
    say(f"Starting a throwaway {name} ...")
    try:
        server = database.start()
    except ServerMissing as missing:
        say(f"There is none here: {missing}")
        return True
    servers.callback(server.stop)
    harness = database.harness(server)
    harness.fill(1000)
    connector = shown(
        f"POST /connectors  ({name} {server.version})",
        api.post(
            "/connectors",
            json={
                "name": f"Demo {name}",
                "connector_type": harness.connector_type,
                "vertical": "demo",
                "entity_type": name,
                "connection_config": harness.config,
                "query": harness.since,
                "name_column": "name",
            },
        ),
    )
    pulled = shown("POST /connectors/{id}/pull", api.post(f"/connectors/{connector['id']}/pull"))
    if stays:
        config = f"DEMO_{name.upper()}_CONFIG"
        with (stack.folder / "env").open("a") as environment:
            environment.write(f"export {config}={shlex.quote(json.dumps(harness.config))}\n")
        say(f"It stays up. Its connection_config is {config} in {stack.folder / 'env'}.")
    return pulled.get("records_ingested") == 1000  # as many as it was filled with


def client(stack: stacks.Stack, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{stack.api_url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=120)


def shown(title: str, response: httpx2.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    say(f"{title}  ->  {response.status_code}\n{json.dumps(answer, indent=2)}")
    return answer


def preferred(port: int) -> int:
    """The port that people expect, unless somebody has it."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return port
    except OSError:
        return free_port()


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
