"""Dagster's code server, which ends when it has lost its child: `python -m qanatix_pipelines.launcher.code_server`.

`dagster code-server start` is two processes. The parent hands each question to a child, which has our code loaded, and
makes another child when Dagster asks for the code anew. It does not look whether the child is alive: once that was
killed, it goes on without one, passes Dagster's health check, and no pull starts. So we ask through it for what only
the child can answer; whoever started us, systemd or a container's host, starts us again.
"""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import grpc  # type: ignore[import-untyped]  # by itself, for Dagster's own client takes 60 MB more, and seconds to load

from qanatix_pipelines.naming import CODE_LOCATION

log = logging.getLogger("qanatix.code_server")

MODULE = "qanatix_pipelines.definitions"
LOOK_SECONDS = 2.0
_METHODS = "/api.DagsterApi/"
# A parent without a child says so at once, by no code that gRPC has a name for. A new child takes its place within
# seconds where the code is loaded anew.
LOST_SECONDS = 10.0
# A child that is stopped looks like one that is busy, and a parent that does not listen yet loads our code.
SILENT_SECONDS = 120.0
_SILENT = ("DEADLINE_EXCEEDED", "UNAVAILABLE")
_ANSWER_SECONDS = 5
# Left to itself the parent takes a minute to end. What it had begun for Dagster is asked for again.
_STOP_SECONDS = 10.0
# The parent ends by itself, and its child with it, where we were killed and do not come to it any more.
_HEARTBEAT_SECONDS = 60


@click.command()
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", "-p", type=click.IntRange(1, 65_535), default=4000, show_default=True)
@click.option("--check", is_flag=True, help="Start nothing: exit with 0 if the one that listens there answers.")
def main(host: str, port: int, check: bool) -> None:
    """Serve our code to Dagster's webserver and daemon until it cannot be served any more; then exit with 1."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    with grpc.insecure_channel(f"{host}:{port}", [("grpc.max_reconnect_backoff_ms", 2000)]) as channel:
        sys.exit(int(_trouble(channel) is not None) if check else _serve(channel, host, port))


def _serve(channel: grpc.Channel, host: str, port: int) -> int:
    """An exit code: 0 if it was told to end, 1 if the child was lost, else that of a server which ended by itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    dagster = [str(Path(sys.executable).with_name("dagster")), "code-server", "start", "-h", host, "-p", str(port)]
    served = ["-m", MODULE, "--location-name", CODE_LOCATION]
    followed = ["--heartbeat", "--heartbeat-timeout", str(_HEARTBEAT_SECONDS)]
    server = subprocess.Popen([*dagster, *served, *followed])  # noqa: S603  # nothing of it is from outside
    try:
        return _watch(server, channel)
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        if _ended(server, _STOP_SECONDS) is None:
            server.kill()


def _watch(server: subprocess.Popen[bytes], channel: grpc.Channel) -> int:
    answered = time.monotonic()
    while (code := _ended(server, LOOK_SECONDS)) is None:
        trouble = _trouble(channel)
        if trouble is None:
            answered = time.monotonic()
        elif time.monotonic() > answered + (SILENT_SECONDS if trouble in _SILENT else LOST_SECONDS):
            log.error("The code server has no child that answers (%s): it is ended, to be started again.", trouble)
            return 1
    return code


def _ended(server: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return server.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _trouble(channel: grpc.Channel) -> str | None:
    """What keeps the child from answering through its parent, if anything does: a status code of gRPC's."""
    try:
        for method in ("Heartbeat", "GetServerId"):  # the first one the parent answers by itself
            channel.unary_unary(_METHODS + method)(b"", timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        return str(error.code().name)
    return None


if __name__ == "__main__":
    main()
