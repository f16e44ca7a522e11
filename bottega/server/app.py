"""The application: which models it serves, its routes, its errors, its guard."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from bottega import __version__
from bottega.server import errors
from bottega.server.routes import completions, models
from bottega.server.security import LoopbackOnly
from bottega.server.served import Served


def create_app(served: Mapping[str, Served], loopback_only: bool = True) -> FastAPI:
    """The OpenAI API over models by name. `loopback_only`: refuse requests that come by any other name."""
    # The interactive pages would load their scripts from elsewhere; /openapi.json describes every route.
    app = FastAPI(title="Bottega", version=__version__, docs_url=None, redoc_url=None)
    app.state.models = dict(served)
    errors.install(app)
    if loopback_only:
        app.add_middleware(LoopbackOnly)
    app.include_router(models.router)
    app.include_router(completions.router)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    return app
