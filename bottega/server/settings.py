"""How the server itself is set up; how each engine is stands in `engine.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bottega.errors import InputError

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]


@dataclass(frozen=True)
class ServerSettings:
    """What holds for every request. Raises InputError naming the first field out of its range."""

    max_body_bytes: int = 8 * 2**20
    """bytes of a JSON body; a larger one is refused. Uploads have a bound of their own"""
    body_timeout: float = 30.0
    """seconds in which a JSON body has to arrive, and each piece of an upload, which has one more for every
    16 KiB as a whole"""
    max_connections: int = 1000
    """connections at once; who comes then gets 503"""
    grace: float = 30.0
    """seconds that open requests have to finish in after SIGTERM"""
    max_file_bytes: int = 512 * 2**20
    """bytes of an uploaded file; a larger one is refused"""
    state: str | None = None
    """where keys, files and batches are kept: a folder or a postgresql:// URL; by default the user's own"""
    files: str | None = None
    """the folder of the contents of files; by default in the state's folder"""
    require_keys: bool = False
    """refuse every request without a key even while there is none"""
    without_keys: bool = False
    """with a --host that others can reach: let in whoever does, while there is no key"""
    log_level: LogLevel = "info"
    """from which level on the log on standard error tells; every request is a line at info"""
    log_format: LogFormat = "auto"
    """one JSON object a line, or text for people; auto: text where the log goes to a terminal"""

    def __post_init__(self) -> None:
        if self.max_body_bytes < 1:
            raise InputError(f"max_body_bytes must be at least 1, not {self.max_body_bytes}")
        if self.max_file_bytes < 1:
            raise InputError(f"max_file_bytes must be at least 1, not {self.max_file_bytes}")
        if self.max_connections < 1:
            raise InputError(f"max_connections must be at least 1, not {self.max_connections}")
        if not 0 < self.body_timeout < float("inf"):
            raise InputError(f"body_timeout must be a number of seconds above 0, not {self.body_timeout}")
        if not 0 <= self.grace < float("inf"):
            raise InputError(f"grace must be a number of seconds from 0 on, not {self.grace}")


DEFAULT = ServerSettings()
QUIET = ServerSettings(log_level="warning", log_format="text")  # for people at a terminal
