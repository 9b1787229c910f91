"""The API's log lines: each tells the request it was written for."""

import logging

from qanatix_api.request_ids import current_request_id
from qanatix_pipelines.tracebacks import outline

AUDIT = "qanatix.audit"
_OURS = ("qanatix_api", "qanatix_pipelines")
# Who writes down exceptions that nobody has caught.
_OTHERS = ("uvicorn.error", "asyncio", "concurrent.futures")


def logger(name: str) -> logging.Logger:
    """The logger of this name. Its records have a `request_id`, whichever handler and format write them."""
    log = logging.getLogger(name)
    log.addFilter(_stamped)
    return log


def install() -> None:
    """Write our lines to stderr, unless whoever serves the API has said where lines go (uvicorn's --log-config)."""
    for name in _OURS:
        _write(name, "%(asctime)s %(levelname)s %(name)s request_id=%(request_id)s %(message)s")
    _write(AUDIT, "%(message)s")  # which is JSON
    for name in _OTHERS:
        logging.getLogger(name).addFilter(_outlined)
    for name in (AUDIT, "qanatix_api"):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)


def _write(name: str, form: str) -> None:
    log = logging.getLogger(name)
    if not log.hasHandlers():
        log.addHandler(_handler(form))


def _handler(form: str) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.addFilter(_stamped)  # of the core's records, too, which know of no requests
    handler.setFormatter(logging.Formatter(form))
    return handler


def _stamped(record: logging.LogRecord) -> bool:
    record.request_id = current_request_id()
    return True


def _outlined(record: logging.LogRecord) -> bool:
    """An exception's text may hold a row or an address, so a log tells its type and its place."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = record.getMessage().partition("\n")[0], ()  # asyncio shows the task, and its error
        record.exc_text = outline(record.exc_info[1])
        record.exc_info = None
    return True
