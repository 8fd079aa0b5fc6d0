"""Pages for people: one HTML file each, which needs no network and works from file://."""

import base64
import hashlib
import json
from functools import cache
from html import escape
from typing import Any, Iterable, Tuple

from imagenet_trainer import assets


@cache
def asset(name: str) -> str:
    """The text of a style sheet or script of ours."""
    return assets.path(name).read_text(encoding="utf-8")


def document(title: str, body: str, style: str = "", script: str = "", data: Any = None) -> str:
    """A whole page: text of the title, HTML of the body, and our own CSS and JavaScript.

    `data` is what the script finds as JSON in the element `data`. The page forbids the browser
    to fetch anything and to run any script but this one, which its digest names; so even text
    that slipped through unescaped could do nothing.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    run = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {run}"
    name = escape(title)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title>\n<style>{asset('page.css')}{style}</style></head>",
        f"<body><main><h1>{name}</h1>\n{body}\n</main>",
    ]
    if data is not None:
        # An end tag or a comment inside a string would end the element.
        text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        parts.append(f'<script type="application/json" id="data">{text}</script>')
    if script:
        parts.append(f"<script>{script}</script>")
    return "\n".join(parts) + "\n</body></html>\n"


def section(title: str, content: str, anchor: str = "") -> str:
    """A part of a page with its heading; HTML in, HTML out."""
    return f"<section{f' id={anchor!r}' if anchor else ''}><h2>{title}</h2>{content}</section>"


def tile_row(tiles: Iterable[Tuple[str, str, str]]) -> str:
    """Large numbers with what they count (HTML), and "" or "warn"."""
    return "".join(
        f'<div class="tile {kind}"><b>{number}</b>{what}</div>' for number, what, kind in tiles
    ).join(('<div class="tiles">', "</div>"))


def data_uri(data: bytes, kind: str) -> str:
    """A file of a media type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
