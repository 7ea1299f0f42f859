"""What a program of ours logs: a JSON object a line, on the standard error.

The engine's own events come as they are. What other libraries, and the services' own code, say
through the standard library's loggers is put into the same form.
"""

import logging
import sys

import structlog


class _Line(logging.Formatter):
    """An event of the engine is a line already; anything else is made one."""

    def __init__(self) -> None:
        super().__init__()
        self._others = structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == "amends" else self._others.format(record)


def log_to_stderr(level: str) -> None:
    """From now on, all of that level and above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # All it has to say is said once more, in a line, by the connection.
    logging.getLogger("pika").propagate = False
