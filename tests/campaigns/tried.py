"""A process that has imported the libraries, and forks itself for each run of the tests of some copy of our code.

It listens at the Unix socket that its command line names. A line of JSON in: the copy's folder and the tests. Out: what
the run prints, and in the last line pytest's exit code. To import the libraries would take most of a run's time.
"""

import json
import os
import socketserver
import sys
from importlib import import_module

# What our code and its tests import, or most of it: what is left out, each run that needs it imports.
LIBRARIES = (
    "alembic.command",
    "asyncmy",
    "asyncpg",
    "cronsim",
    "cryptography.fernet",
    "dagster",
    "fastapi.testclient",
    "fastapi_offline",
    "hypothesis.stateful",
    "neo4j",
    "polars",
    "polars_hash",
    "psycopg",
    "pydantic_settings",
    "pymongo",
    "pytest",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "sqlglot.dialects.mysql",
    "sqlglot.dialects.postgres",
    "uvicorn",
)
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout")


class Run(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """In the fork: the copy comes before the installed packages."""
        import pytest

        copy, *tests = json.loads(self.rfile.readline())
        os.chdir(copy)
        sys.path.insert(0, copy)
        for printed in (1, 2):
            os.dup2(self.connection.fileno(), printed)
        code = pytest.main([*OPTIONS, *tests])
        print(f"\n{int(code)}", end="", flush=True)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Says that it is ready once it is."""

    def server_activate(self) -> None:
        for library in LIBRARIES:
            import_module(library)
        super().server_activate()
        print("ready", flush=True)


if __name__ == "__main__":
    Server(sys.argv[1], Run).serve_forever()
