"""The playground: static pages under /playground, to which / leads. A plain client of the API."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

router = APIRouter(include_in_schema=False)

# Nothing is fetched from elsewhere, nothing runs that is not a file of ours, and no other page may frame it.
_POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"


class _Pages(StaticFiles):
    """Files with the policy, asked for anew whenever they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 404."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
async def lead_to_playground() -> RedirectResponse:
    """Who opens the address in a browser finds the playground."""
    return RedirectResponse("/playground/")


def mount(app: FastAPI) -> None:
    """Serve the pages that ship with the package."""
    app.include_router(router)
    app.mount("/playground", _Pages(directory=str(files("bottega.server") / "pages"), html=True))
