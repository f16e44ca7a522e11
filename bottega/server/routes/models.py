"""GET /v1/models, GET and DELETE /v1/models/{id}."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from bottega.server.errors import ApiError
from bottega.server.guard.callers import caller
from bottega.server.schema import Ability, ErrorAnswer, Model, ModelDeleted, ModelList
from bottega.server.served import Served, find

FINE_TUNED = "ft:"  # how OpenAI's names of fine-tuned models begin

router = APIRouter(prefix="/v1/models")


def _describe(name: str, served: Served) -> Model:
    can: list[Ability] = ["embed"] if served.engine.embeds_only else ["generate", "embed"]
    return Model(id=name, created=served.created, abilities=can)


@router.get("")
async def list_models(request: Request) -> ModelList:
    """The models that are served."""
    return ModelList(data=[_describe(name, served) for name, served in request.app.state.models.items()])


@router.get("/{model:path}", responses={404: {"model": ErrorAnswer}})
async def retrieve_model(request: Request, model: str) -> Model:
    """One of them; a name may hold slashes."""
    return _describe(model, find(request, model))


@router.delete("/{model:path}", responses={status: {"model": ErrorAnswer} for status in (403, 404)})
async def delete_model(request: Request, model: str) -> ModelDeleted:
    """Serve a fine-tuned model, one whose name begins with `ft:`, no longer; its folder stays as it is.

    Where the server has keys, none of them owns the models that it serves, and this is refused.
    """
    served = find(request, model)
    if not model.startswith(FINE_TUNED):
        message = f"{model!r} is no fine-tuned model: only those, named {FINE_TUNED}…, can be deleted."
        raise ApiError(message, "model", "permission_denied", 403)
    if caller(request).id:
        message = f"{model!r} belongs to who runs this server; a key does not allow to delete it."
        raise ApiError(message, "model", "permission_denied", 403)
    models: dict[str, Served] = request.app.state.models
    del models[model]
    if all(other.engine is not served.engine for other in models.values()):
        await asyncio.to_thread(served.engine.close)
    return ModelDeleted(id=model)
