"""How the server itself is set up; how each engine is stands in `engine.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bottega.errors import InputError

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "text"]


@dataclass(frozen=True)
class ServerSettings:
    """What holds for every request. Raises InputError naming the first field out of its range."""

    max_body_bytes: int = 8 * 2**20
    """bytes of a JSON body; a larger one is refused. Uploads have a bound of their own"""
    grace: float = 30.0
    """seconds that open requests have to finish in after SIGTERM"""
    log_level: LogLevel = "info"
    """from which level on the log on standard error tells; every request is a line at info"""
    log_format: LogFormat = "json"
    """one JSON object a line, or text for people"""

    def __post_init__(self) -> None:
        if self.max_body_bytes < 1:
            raise InputError(f"max_body_bytes must be at least 1, not {self.max_body_bytes}")
        if not 0 <= self.grace < float("inf"):
            raise InputError(f"grace must be a number of seconds from 0 on, not {self.grace}")


DEFAULT = ServerSettings()
QUIET = ServerSettings(log_level="warning", log_format="text")  # for people at a terminal
