"""The API's log lines. Each has the id of the request it belongs to."""

import logging

from qanatix_api.request_ids import current_request_id
from qanatix_pipelines.tracebacks import outline

AUDIT = "qanatix.audit"
_OURS = ("qanatix_api", "qanatix_pipelines")
# These log uncaught exceptions.
_OTHERS = ("uvicorn.error", "asyncio", "concurrent.futures")


def logger(name: str) -> logging.Logger:
    """The logger of this name. Its records have a `request_id`, whichever handler and format write them."""
    log = logging.getLogger(name)
    log.addFilter(_stamped)
    return log


def install() -> None:
    """Log to stderr, unless the server has configured logging itself (uvicorn's --log-config)."""
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
    handler.addFilter(_stamped)  # also for records of qanatix_pipelines, which knows no requests
    handler.setFormatter(logging.Formatter(form))
    return handler


def _stamped(record: logging.LogRecord) -> bool:
    record.request_id = current_request_id()
    return True


def _outlined(record: logging.LogRecord) -> bool:
    """Log only an exception's type and where it was raised: its message may contain a row or an address."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = record.getMessage().partition("\n")[0], ()  # more lines of asyncio's show the error
        record.exc_text = outline(record.exc_info[1])
        record.exc_info = None
    return True
