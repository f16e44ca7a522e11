"""The application: which models it serves, its routes, its errors, its guard."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from bottega import __version__
from bottega.server import errors
from bottega.server.batches.runner import Batches, lifespan
from bottega.server.description import describe
from bottega.server.guard.bodies import Bodies
from bottega.server.guard.door import Door, Doorkeeper
from bottega.server.guard.keys import KeyGuard
from bottega.server.guard.loopback import LoopbackOnly
from bottega.server.observe.metrics import Metrics
from bottega.server.observe.request_log import RequestLog
from bottega.server.observe.watch import watch
from bottega.server.routes import (
    answers,
    batches,
    chat,
    classifications,
    completions,
    edits,
    embeddings,
    engines,
    files,
    health,
    models,
    pages,
    tokenizer,
)
from bottega.server.served import Served
from bottega.server.settings import DEFAULT, ServerSettings
from bottega.server.store import Store


def create_app(
    served: Mapping[str, Served],
    loopback_only: bool = True,
    settings: ServerSettings = DEFAULT,
    store: Store | None = None,
) -> FastAPI:
    """The OpenAI API over models by name. `loopback_only`: refuse requests that come by any other name.

    Without a `store` what clients create is forgotten with the application.
    """
    # The interactive pages would load their scripts from elsewhere; /openapi.json describes every route.
    app = FastAPI(title="Bottega", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.models = dict(served)
    app.state.store, app.state.max_file_bytes = store or Store.temporary(), settings.max_file_bytes
    app.state.batches = Batches(app, app.state.store, app.state.models)
    errors.install(app)
    app.state.door, app.state.metrics = Door(), Metrics(served)
    app.state.max_connections = settings.max_connections
    for name, one in reversed(list(served.items())):  # a model with several names is counted under the first
        one.engine.on_submit = watch(app.state.metrics, name)
    app.add_middleware(Bodies, max_bytes=settings.max_body_bytes, patience=settings.body_timeout)
    if loopback_only:
        app.add_middleware(LoopbackOnly)
    app.add_middleware(KeyGuard, store=app.state.store, required=settings.require_keys)
    app.add_middleware(Doorkeeper, door=app.state.door)
    app.add_middleware(RequestLog, metrics=app.state.metrics)  # added last, it stands before all others
    app.include_router(models.router)
    app.include_router(completions.router)
    app.include_router(chat.router)
    app.include_router(embeddings.router)
    app.include_router(tokenizer.router)
    app.include_router(files.router)
    app.include_router(batches.router)
    for era in (answers, classifications, edits, engines):
        app.include_router(era.router)
    pages.mount(app)
    app.include_router(health.router)
    describe(app)
    return app
