"""Running batches: their lines go the way of every request, a few at a time, behind others who wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from itertools import islice

from fastapi import FastAPI
from starlette.types import ASGIApp

from bottega.server.batches import in_process
from bottega.server.batches.files import (
    answer_line,
    check_input,
    expire_rest,
    fail_without_input,
    write_end,
)
from bottega.server.errors import ENGINE_FAILED
from bottega.server.files.jsonl import Line, read_lines
from bottega.server.guard.callers import Caller
from bottega.server.served import Served
from bottega.server.store.batches import CLAIM_SECONDS, answered, change, claim, record, release, unfinished
from bottega.server.store.contents import sweep
from bottega.server.store.store import Body, Store

log = logging.getLogger(__name__)

AT_ONCE = 16  # lines under way: fewer than an engine decodes together, so that others join without waiting
POLL_SECONDS = 2.0  # how often batches of servers that died, or of others' making, are looked for
_SWEEP_SECONDS = 600.0
_LATER = (429, 503)  # the server is full, or its engine starts again
_PATIENCE = 30.0  # seconds between two tries, at most
_FAILURES = 3  # steps that one line may break, or be in when they break, before that is its answer


class Batches:
    """Works on all batches whose model is here. Every answer is written down at once: a kill loses none."""

    def __init__(self, app: ASGIApp, store: Store, models: Mapping[str, Served]) -> None:
        self._app, self._store, self._models = app, store, models
        self._me = uuid.uuid4().hex
        self._room = asyncio.Semaphore(AT_ONCE)
        self._suspects = asyncio.Lock()
        self._woken = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Event] = {}

    def wake(self) -> None:
        """There is a new batch."""
        self._woken.set()

    def cancel(self, batch: str) -> None:
        """A batch is to be cancelled. If another server works on it, that one finds out for itself."""
        if batch in self._stops:
            self._stops[batch].set()
        self.wake()

    async def run(self) -> None:
        """Work until this is cancelled; what is unfinished is left for the next server at once."""
        swept = 0.0
        try:
            while True:
                self._woken.clear()
                try:
                    await self._look()
                    if time.monotonic() - swept > _SWEEP_SECONDS:
                        await asyncio.to_thread(sweep, self._store)
                        swept = time.monotonic()
                except Exception:  # the database may be away for a while
                    log.exception("looking for batches failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._woken.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> None:
        for owner, batch in await asyncio.to_thread(unfinished, self._store):
            id, model = batch["id"], batch["model"]
            late = batch["expires_at"] is not None and batch["expires_at"] < time.time()
            mine = model is None or model in self._models or late or batch["status"] != "in_progress"
            if id in self._tasks or not mine or not await asyncio.to_thread(claim, self._store, id, self._me):
                continue
            self._stops[id] = asyncio.Event()
            self._tasks[id] = asyncio.create_task(self._work(owner, batch))

    async def _work(self, owner: str, batch: Body) -> None:
        id = batch["id"]
        sign_of_life = asyncio.create_task(self._keep(owner, id))
        try:
            await self._advance(owner, batch)
        except Exception:
            log.exception("batch %s failed; it is tried again", id)
        finally:
            sign_of_life.cancel()
            await asyncio.to_thread(release, self._store, id, self._me)
            del self._tasks[id], self._stops[id]

    async def _keep(self, owner: str, id: str) -> None:
        """Keep the claim, and notice that the batch was cancelled at another server."""
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            if not await asyncio.to_thread(claim, self._store, id, self._me):
                self._tasks[id].cancel()  # this server was stopped for so long that another took over
            body = await asyncio.to_thread(self._store.get, "batch", id, owner)
            if body is not None and body["status"] == "cancelling":
                self._stops[id].set()

    async def _advance(self, owner: str, batch: Body) -> None:
        id, path = batch["id"], self._store.files / batch["input_file_id"]
        if batch["status"] == "validating":
            fields, total = await asyncio.to_thread(check_input, path, batch["endpoint"], self._models)
            status = "failed" if "errors" in fields else "in_progress"
            fields |= {"status": status, f"{status}_at": int(time.time()), "request_counts": _counts(total)}
            await self._change(owner, id, "validating", fields)
        batch = await self._get(owner, id)
        if batch["status"] == "in_progress":
            if await asyncio.to_thread(fail_without_input, self._store, batch, owner, path):
                return
            await self._answer_all(owner, batch)
            batch = await self._get(owner, id)
        if batch["status"] == "in_progress":
            now = {"status": "finalizing", "finalizing_at": int(time.time())}
            await self._change(owner, id, "in_progress", now)
            batch = await self._get(owner, id)
        if batch["status"] == "cancelling":
            await asyncio.to_thread(write_end, self._store, batch, owner, "cancelled")
        elif batch["status"] == "finalizing":
            if await asyncio.to_thread(fail_without_input, self._store, batch, owner, path):
                return
            late = await asyncio.to_thread(expire_rest, self._store, batch, path)
            await asyncio.to_thread(write_end, self._store, batch, owner, "expired" if late else "completed")

    async def _change(self, owner: str, id: str, since: str, fields: Body) -> None:
        await asyncio.to_thread(change, self._store, id, owner, (since,), fields)

    async def _get(self, owner: str, id: str) -> Body:
        body = await asyncio.to_thread(self._store.get, "batch", id, owner)
        if body is None:
            raise LookupError(f"batch {id} is gone")
        return body

    async def _answer_all(self, owner: str, batch: Body) -> None:
        """Answer the lines that have no answer yet, until the batch is cancelled or its window ends."""
        answering = asyncio.create_task(self._answer_lines(owner, batch))
        stop = asyncio.create_task(self._stops[batch["id"]].wait())
        try:
            left = batch["expires_at"] - time.time()
            await asyncio.wait((answering, stop), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (answering, stop):
                task.cancel()
            await asyncio.gather(answering, stop, return_exceptions=True)

    async def _answer_lines(self, owner: str, batch: Body) -> None:
        done = await asyncio.to_thread(answered, self._store, batch["id"])
        engine = self._models[batch["model"]].engine
        async with asyncio.TaskGroup() as group:
            async for number, line in self._lines(batch):
                if number in done:
                    continue
                await self._room.acquire()
                while engine.load[1]:  # whoever waits for an answer comes first
                    await asyncio.sleep(0.02)
                group.create_task(self._answer(batch["id"], owner, number, line))

    async def _lines(self, batch: Body) -> AsyncIterator[tuple[int, Line]]:
        with (self._store.files / batch["input_file_id"]).open("rb") as file:
            lines = read_lines(file)
            while some := await asyncio.to_thread(lambda: list(islice(lines, AT_ONCE))):
                for one in some:
                    yield one

    async def _answer(self, batch: str, owner: str, number: int, line: Line) -> None:
        who, failures = Caller.of(owner), 0
        try:
            while True:
                # A line that always breaks its step takes the others in it along. They are suspect too, but
                # asked one by one: so each of them can show that it was not the one.
                async with self._suspects if failures else contextlib.nullcontext():
                    status, headers, body = await in_process.post(self._app, line["url"], line["body"], who)
                failures += status == 503 and body["error"]["code"] == ENGINE_FAILED
                if status not in _LATER or failures == _FAILURES:
                    break
                await asyncio.sleep(min(float(headers.get("retry-after", 1)), _PATIENCE))
        finally:
            self._room.release()
        response = {"status_code": status, "request_id": headers.get("x-request-id", ""), "body": body}
        answer = answer_line(line["custom_id"], response)
        await asyncio.to_thread(record, self._store, batch, number, answer)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the batches while the server runs."""
    running = asyncio.create_task(app.state.batches.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _counts(total: int) -> Body:
    return {"total": total, "completed": 0, "failed": 0}
