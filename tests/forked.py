"""Processes that are forked from one which has loaded everything: a worker of the tests has one such process.

It is forked from while it has one thread, and has imported what its children would import late. Each of them runs the
tests' own main module, which imports pytest.
"""

import multiprocessing

_DRIVERS = ["asyncmy", "asyncpg", "neo4j", "psycopg", "pymongo"]
_DRIVERS += ["sqlglot.dialects.mysql", "sqlglot.dialects.postgres", "sqlglot.dialects.sqlite"]

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["pytest", "qanatix_api.cli", "tests.campaigns.victim", *_DRIVERS])
