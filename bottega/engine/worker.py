"""The engine's process: it owns the model, and turns messages into steps until its server is gone.

Torch is imported here only when the process has begun, so that the server may name `main` without it.
"""

from __future__ import annotations

import logging
import signal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from bottega.engine.messages import Abort, Add, Progress, Ready, Unfit
from bottega.engine.settings import EngineSettings
from bottega.errors import InputError
from bottega.models.load import is_encoder

if TYPE_CHECKING:
    from bottega.engine.core import Core
    from bottega.engine.encoder_core import EncoderCore
    from bottega.nn.steps import Step

log = logging.getLogger(__name__)


def main(connection: Connection, folder: str, settings: EngineSettings) -> None:
    """Load the model in `folder`, say so, and serve what comes over `connection` until it closes."""
    # Ctrl-C and a system's shutdown reach the whole group of processes; when to leave the server decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        try:
            core = _load(folder, settings)
        except InputError as error:
            connection.send(Unfit(str(error)))
            return
        connection.send(Ready(core.context_length))
        worker = Worker(connection, core)
        while True:
            worker.turn()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the server is gone


def _load(folder: str, settings: EngineSettings) -> Core | EncoderCore:
    import torch

    from bottega.engine.devices import find

    device = find(settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs are made on the current one
    if is_encoder(folder):
        from bottega.engine.encoder_core import EncoderCore
        from bottega.models.sentence_encoder import SentenceEncoder

        return EncoderCore(SentenceEncoder.from_pretrained(folder).to(device), settings)
    from bottega.engine.core import Core
    from bottega.models.gpt import GPT
    from bottega.models.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    try:
        model = GPT.from_pretrained(folder).to(device)
        return Core(model, tokenizer.end_of_text, settings, tokenizer.to_json())
    except torch.OutOfMemoryError as error:
        advice = "free its memory, take fewer --kv-tokens or smaller --weights, or run on --device cpu"
        raise InputError(f"the model does not fit into the free memory of {device}: {advice}") from error


class Worker:
    """Drives a Core by what comes over a connection, which raises EOFError when its other end closes."""

    def __init__(self, connection: Connection, core: Core | EncoderCore) -> None:
        self._connection, self._core = connection, core
        self._held: set[int] = set()  # requests in the core

    def turn(self) -> None:
        """Take the messages that are there, waiting for one where nothing is to be done; then one step."""
        aborted: list[int] = []
        refused: list[tuple[int, str]] = []
        while self._connection.poll(0 if self._core.has_work or aborted or refused else None):
            for message in self._connection.recv():
                self._take(message, aborted, refused)
        steps, failed = self._step()
        self._connection.send(Progress(steps, aborted, refused, failed, self._core.statistics()))

    def _take(self, message: Add | Abort, aborted: list[int], refused: list[tuple[int, str]]) -> None:
        if isinstance(message, Abort):
            if message.id in self._held:
                self._held.discard(message.id)
                self._core.abort(message.id)
            aborted.append(message.id)
            return
        try:
            self._core.add(message.id, message.request)
            self._held.add(message.id)
        except InputError as error:
            refused.append((message.id, str(error)))

    def _step(self) -> tuple[list[tuple[int, Step]], list[tuple[int, str]]]:
        if not self._core.has_work:
            return [], []
        try:
            steps = self._core.step()
        except Exception as error:
            import torch

            log.exception("a step of the engine failed")
            if isinstance(error, torch.AcceleratorError):
                raise  # a GPU that has failed computes nothing more for this process: a new one is started
            failed = [(id, str(error) or type(error).__name__) for id in self._held]
            for id in self._held:
                self._core.abort(id)
            self._held.clear()
            return [], failed
        self._held -= {id for id, step in steps if step.finish_reason is not None}
        return steps, []
