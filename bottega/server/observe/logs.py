"""The server's log on standard error: a line a request or event, as JSON for programs or text for people."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from bottega.server.settings import LogFormat, LogLevel


def configure(level: LogLevel = "warning", format: LogFormat = "text") -> None:
    """Send what the package and uvicorn log at `level` or above to standard error."""
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    for name in ("bottega", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (RFC 3339), level, logger, message, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """The same for people: time of day, level, message, then name=value pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback where there is one."""
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        pairs = "".join(f" {name}={json.dumps(value)}" for name, value in _fields(record).items())
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, dict) else {}
