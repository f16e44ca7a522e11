"""Renders others' chat templates in a process of its own, which may neither hang nor fill the memory."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from bottega.errors import InputError, WorkError
from bottega.text.jinja_template import Parts

_MEMORY = 1 << 30  # bytes of address space: Python and Jinja need a sixth of it


class TemplateProcess:
    """One template's process, started when it is first needed and again after it had to be ended."""

    def __init__(self, source: str, variables: Mapping[str, Any], deadline: int | float = 5.0) -> None:
        """`deadline`: seconds that one conversation may take."""
        self._given = {"source": source, "variables": dict(variables)}
        self._deadline = deadline
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def render(self, data: Mapping[str, Any]) -> Parts:
        """As `jinja_template.render`; InputError also where it takes too long or too much memory."""
        with self._lock:
            child = self._running()
            answers: queue.SimpleQueue[str] = queue.SimpleQueue()
            threading.Thread(target=_ask, args=(child, json.dumps(data), answers), daemon=True).start()
            try:
                answer = answers.get(timeout=self._deadline)
            except queue.Empty:
                answer = ""
            if not answer:
                self.close()
                message = (
                    f"the chat template did not finish within {self._deadline:g} s and {_MEMORY >> 30} GiB"
                )
                raise InputError(message)
        found = json.loads(answer)
        if "error" in found:
            raise InputError(found["error"])
        return [(text, trusted) for text, trusted in found["parts"]]

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError, ValueError):
                        pipe.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "bottega.text.template_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise WorkError(f"no process can be started for the chat template: {error.strerror}") from None
        # Its standard input ends with this process, and so does it.
        _ask(self._child, json.dumps(self._given), queue.SimpleQueue())
        return self._child


def _ask(child: subprocess.Popen[str], line: str, answers: queue.SimpleQueue[str]) -> None:
    """Put the child's answer into `answers`: "" where it died."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(line + "\n")
        child.stdin.flush()
        answers.put(child.stdout.readline())
    except (OSError, ValueError):
        answers.put("")


def main() -> None:
    """The process: a line with the template, then a line a conversation; each is answered by a line."""
    from bottega.text.jinja_template import render

    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    given = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"parts": render(given["source"], given["variables"], json.loads(line))}
        except InputError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
