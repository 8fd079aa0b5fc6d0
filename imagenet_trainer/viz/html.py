"""HTML pages: one file each, which works from file:// and without a network.

The pages are Jinja2 templates in assets/templates/. `page.html` is their frame, `parts.html` holds
what they share. This module is the only one that loads templates.
"""

import base64
import hashlib
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imagenet_trainer import assets
from imagenet_trainer.text import printable


class Tile(NamedTuple):
    """A large number at the top of a page."""

    number: str
    label: str
    small: str = ""  # a line below the label
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

    In addition to Jinja's own, templates have the filters `percent` and `thousands` and the
    functions `asset` (a style sheet or script of the package) and `data_uri`.

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
        finalize=lambda value: printable(value, "\n\t") if type(value) is str else value,
    )
    environment.globals.update(asset=_asset, data_uri=data_uri)
    environment.filters.update(percent=percent, thousands=thousands, csp_source=_csp_source)
    # For the data of a page's script. `tojson` escapes <, > and &, so that text cannot end the
    # element.
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
