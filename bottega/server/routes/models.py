"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from fastapi import APIRouter, Request

from bottega.server.schema import ErrorAnswer, Model, ModelList
from bottega.server.served import Served, find

router = APIRouter(prefix="/v1/models")


def _describe(name: str, served: Served) -> Model:
    return Model(id=name, created=served.created)


@router.get("")
async def list_models(request: Request) -> ModelList:
    """The models that are served."""
    return ModelList(data=[_describe(name, served) for name, served in request.app.state.models.items()])


@router.get("/{model:path}", responses={404: {"model": ErrorAnswer}})
async def retrieve_model(request: Request, model: str) -> Model:
    """One of them; a name may hold slashes."""
    return _describe(model, find(request, model))
