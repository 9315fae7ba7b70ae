"""Logging: structured events on the standard logger `perdure.server`, never a body, a key or a header.

As a library (the embedded mode) the server only emits; what becomes of the records is the program's affair. The
server process calls `configure`: one line per record on standard error, JSON when nobody is looking at a terminal.
"""

import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.stdlib import BoundLogger, ExtraAdder, ProcessorFormatter
from structlog.typing import Processor


def get_logger() -> BoundLogger:
    """The server's logger: `log.warning("event_name", field=value)`."""
    return cast(
        BoundLogger,
        structlog.wrap_logger(
            logging.getLogger("perdure.server"),
            wrapper_class=BoundLogger,
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        ),
    )


def configure(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Send every log record of this process to *stream*, one line each."""
    renderer: Processor
    if stream.isatty():
        renderer = structlog.dev.ConsoleRenderer(colors=True)
    else:
        renderer = structlog.processors.JSONRenderer(sort_keys=True)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    # What logs through structlog alone (the engine) takes the same way.
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=BoundLogger,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
