"""GET /health, /ready and /metrics: for supervisors, balancers and Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

router = APIRouter()


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether every model answers, and which do."""

    ready: bool
    draining: bool
    models: dict[str, bool]


@router.get("/health")
async def health() -> Health:
    """Whether the server answers; it does not ask the engines."""
    return Health()


@router.get("/ready", response_model=Readiness, responses={503: {"model": Readiness}})
async def ready(request: Request) -> Response:
    """200 where every model can be asked, else 503: while one loads or starts again, and while draining."""
    models = {name: served.engine.ready for name, served in request.app.state.models.items()}
    draining = request.app.state.door.closed
    answer = Readiness(ready=all(models.values()) and not draining, draining=draining, models=models)
    return JSONResponse(answer.model_dump(), 200 if answer.ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The server's and the engines' numbers in Prometheus' text format."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)
