"""HTML pages: one file each, which works from file:// and without a network.

The pages are Jinja2 templates in assets/templates/. `page.html` is their frame, `parts.html` holds
what they share. This module is the only one that loads templates.
"""

import base64
import hashlib
import json
from functools import cache
from html import escape
from typing import Any, Iterable, NamedTuple, Tuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imagenet_trainer import assets


class Tile(NamedTuple):
    """A large number at the top of a page."""

    number: str
    label: str
    small: str = ""  # below the label
    warn: bool = False  # in the colour of warnings


def render(template: str, **values: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template
        the name of a file in assets/templates/.
    values
        the variables of the template: text, numbers, named tuples, bytes of images. Text is
        escaped. A variable that the template uses and that is missing raises UndefinedError.

    Beside Jinja's own, templates have the filters `percent` and `thousands` and the functions
    `asset`, `data_uri`.

    """
    return _environment().get_template(template).render(values)


def data_uri(data: bytes, kind: str) -> str:
    """A file of a media type as an address that contains it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("imagenet_trainer.assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(asset=_asset, data_uri=data_uri)
    environment.filters.update(percent=percent, thousands=thousands, csp_source=_csp_source)
    # The JSON is read by a script of the page. The filter escapes <, > and &, so that text cannot
    # end the element.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


@cache
def _asset(name: str) -> Markup:
    """A style sheet or script of the package."""
    return Markup(assets.path(name).read_text(encoding="utf-8"))


def percent(share: float, digits: int = 2) -> str:
    """A share in percent; the sign stays on the line of its number."""
    return f"{100 * share:.{digits}f}\u00a0%"


def thousands(number: int) -> str:
    """A number with separators of thousands."""
    return f"{number:,}"


def _csp_source(script: str) -> Markup:
    """The scripts that a page may run: this one, or none."""
    if not script:
        return Markup("'none'")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")


# --- used until the last page is a template ---


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
