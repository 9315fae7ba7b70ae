"""Loggers: structured events on the standard library's loggers, never a body, a key or a header.

As a library (the embedded mode) Perdure only emits; what becomes of the records is the program's affair. The server's
process sends them to standard error (`perdure.server.log.configure`).
"""

import logging
from typing import cast

import structlog
from structlog.stdlib import BoundLogger


def get_logger(name: str) -> BoundLogger:
    """A logger to be used as `log.warning("event_name", field=value)`."""
    return cast(
        BoundLogger,
        structlog.wrap_logger(
            logging.getLogger(name),
            wrapper_class=BoundLogger,
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        ),
    )
