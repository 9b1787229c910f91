"""Dagster's code server, which ends when it loses its child: `python -m qanatix_pipelines.launcher.code_server`.

`dagster code-server start` is two processes. The parent passes each request to a child that has loaded our code, and
starts another child when Dagster reloads the code. It does not check that the child is alive: if the child is killed,
the parent carries on without it, passes Dagster's health check, and no pull starts. So we send a request that only the
child can answer. When none comes back we exit, and systemd or a container's host starts us again.
"""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import grpc  # type: ignore[import-untyped]  # Dagster's own client would take 60 MB more, and seconds to load

from qanatix_pipelines.naming import CODE_LOCATION

log = logging.getLogger("qanatix.code_server")

MODULE = "qanatix_pipelines.definitions"
LOOK_SECONDS = 2.0
_METHODS = "/api.DagsterApi/"
# A parent without a child answers at once, with an error that has no gRPC code of its own. When the code is reloaded, a
# new child is there within seconds.
LOST_SECONDS = 10.0
# A child that is stopped looks like one that is busy, and a parent that does not listen yet may be loading our code.
SILENT_SECONDS = 120.0
_SILENT = ("DEADLINE_EXCEEDED", "UNAVAILABLE")
_ANSWER_SECONDS = 5
# The parent takes a minute to end by itself. Dagster repeats the requests that it was working on.
_STOP_SECONDS = 10.0
# If we are killed, our heartbeats stop, and the parent ends with its child after this time.
_HEARTBEAT_SECONDS = 60


@click.command()
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", "-p", type=click.IntRange(1, 65_535), default=4000, show_default=True)
@click.option(
    "--location-name",
    envvar="QANATIX_CODE_LOCATION",
    default=CODE_LOCATION,
    show_default=True,
    help="Its name in Dagster.",
)
@click.option("--check", is_flag=True, help="Start nothing: exit with 0 if the one that listens there answers.")
def main(host: str, port: int, location_name: str, check: bool) -> None:
    """Serve our code to Dagster's webserver and daemon. Exit with 1 when it can no longer be served."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    with grpc.insecure_channel(f"{host}:{port}", [("grpc.max_reconnect_backoff_ms", 2000)]) as channel:
        sys.exit(int(_trouble(channel) is not None) if check else _serve(channel, host, port, location_name))


def _serve(channel: grpc.Channel, host: str, port: int, location_name: str) -> int:
    """An exit code: 0 if it was told to end, 1 if the child was lost, else the server's own."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    dagster = [str(Path(sys.executable).with_name("dagster")), "code-server", "start", "-h", host, "-p", str(port)]
    served = ["-m", MODULE, "--location-name", location_name]
    followed = ["--heartbeat", "--heartbeat-timeout", str(_HEARTBEAT_SECONDS)]
    server = subprocess.Popen([*dagster, *served, *followed])  # noqa: S603  # the operator gives the arguments
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
    """The gRPC status code of the error, if the child does not answer through its parent."""
    try:
        for method in ("Heartbeat", "GetServerId"):  # the parent answers the first by itself
            channel.unary_unary(_METHODS + method)(b"", timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        return str(error.code().name)
    return None


if __name__ == "__main__":
    main()
