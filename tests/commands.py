"""`qanatix` as a process of its own, forked from one that has imported it: to import it takes most of its time."""

import os
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

from tests.forked import forked

SECONDS = 120


def qanatix(environment: Mapping[str, str], *arguments: str) -> CompletedProcess[str]:
    """What `qanatix ...` prints in an environment, and its exit status."""
    with TemporaryDirectory() as folder:
        printed, said = Path(folder, "stdout"), Path(folder, "stderr")
        process = forked.Process(target=_run, args=(dict(environment), arguments, printed, said))
        process.start()
        process.join(SECONDS)
        status = process.exitcode
        if status is None:
            process.kill()
            process.join()
            raise TimeoutError(f"qanatix {' '.join(arguments)} has not ended within {SECONDS} s.")
        process.close()
        return CompletedProcess(["qanatix", *arguments], status, printed.read_text(), said.read_text())


def _run(environment: dict[str, str], arguments: tuple[str, ...], printed: Path, said: Path) -> None:
    for stream, file in ((1, printed), (2, said)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)

    from qanatix_api.cli import main

    main(arguments, prog_name="qanatix")
