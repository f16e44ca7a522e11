"""Pages that are one HTML file and fetch nothing: a frame and a sheet that all share, each with its data."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import Any


def inlined(name: str, title: str, data: Any) -> str:
    """Return the page whose body, style and script are `name`.html, .css and .js beside `page.html`.

    `data`, anything that JSON can say, is what its script reads. Title and data may hold any text: it is
    shown, never read as HTML.
    """
    parts = {
        "title": html.escape(title),
        "style": _part("page.css") + _part(f"{name}.css"),
        "body": Template(_part(f"{name}.html")).substitute(title=html.escape(title)),
        "script": _part(f"{name}.js"),
        # Whatever a text spells, the parser of HTML sees no `<` in it.
        "data": json.dumps(data, ensure_ascii=True).replace("<", "\\u003c"),
    }
    return Template(_part("page.html")).substitute(parts)


def _part(file: str) -> str:
    return (files("bottega.plots") / "pages" / file).read_text(encoding="utf-8")
