"""The program `qanatix-worker`. It loads the definitions, serves, and restarts itself when our code changes."""

import argparse
import gc
import json
import logging
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from qanatix_pipelines.tracebacks import outline

log = logging.getLogger("qanatix.worker")

# The runs that this process started before it restarted itself. They are its children still.
_RUNS = "_QANATIX_WORKER_RUNS"
_LOOK_SECONDS = 2.0
_HELP = """Load the definitions once, and fork a process for each run that Dagster starts on this host.

It listens in the folder that DAGSTER_HOME names, takes the same variables as Dagster's other processes, and needs the
run launcher of our dagster.yaml. It restarts itself when our code changes. SIGTERM or Ctrl-C ends it once its runs
have ended. Without it runs start cold."""


def main() -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("qanatix-worker", description=_HELP, formatter_class=as_written).parse_args()
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    if not os.environ.get("DAGSTER_HOME"):
        log.error(
            "DAGSTER_HOME is not set. It is the folder with Dagster's dagster.yaml, the same for all its processes."
        )
        return 1
    from dagster import DagsterInstance

    from qanatix_pipelines.errors import SettingsError, StoreNotReady
    from qanatix_pipelines.launcher import preload, revisions, runs
    from qanatix_pipelines.launcher.worker import Worker

    began_anew = _RUNS in os.environ
    children = {int(pid): run_id for pid, run_id in json.loads(os.environ.pop(_RUNS, "{}")).items()}
    revisions.remember()
    edition = preload.edition()
    try:
        if not began_anew:  # after a restart it has children to look after
            preload.check_environment()
    except (SettingsError, StoreNotReady) as error:
        log.error("%s", error)  # noqa: TRY400  # it says all
        return 1
    try:
        preload.definitions()
    except Exception as error:  # noqa: BLE001  # whatever is wrong with them
        log.error("The definitions do not load; runs are started cold until they are changed.\n%s", outline(error))  # noqa: TRY400
        while preload.edition() == edition:
            time.sleep(_LOOK_SECONDS)
        _begin_anew(children)
    try:
        preload.check_forks()
        # Opened once for all runs. Neither SQLite's nor PostgreSQL's storage keeps a connection unless told to.
        with DagsterInstance.get() as instance:
            preload.touch(instance)
            gc.collect()
            gc.freeze()  # a child's garbage collector then leaves the shared pages alone
            worker = Worker(
                Path(instance.root_directory),
                partial(runs.execute, instance),
                partial(runs.bury, instance),
                lambda: preload.edition() != edition,
                children,
            )
            log.info("Ready in %s.", instance.root_directory)
            stale = worker.serve()
    except (OSError, RuntimeError) as error:
        log.error("%s", error)  # noqa: TRY400  # it says all
        return 1
    if stale:
        log.info("Our own code has changed: it is loaded anew.")
        _begin_anew(worker.runs)
    return 0


def _begin_anew(children: dict[int, str]) -> NoReturn:
    os.environ[_RUNS] = json.dumps(children)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # the same program with the same arguments
