"""The page: templates, one style and one script, and the policy that lets nothing else run or load."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shapae.report.rows import rest_name
from shapae.report.words import count, hide, percent, show

# Beginning of each report, by which one is known that may be replaced.
BEGINNING = "<!DOCTYPE html>\n<!-- shapae report -->"
FOLDER = files("shapae.report") / "templates"


def render(**parts: Any) -> str:
    """Render the page; see ``templates/page.html`` for its parts."""
    style, script = _text("style.css"), _text("script.js")
    sources = {"style_source": _source(style), "script_source": _source(script)}
    return (
        _environment()
        .get_template("page.html")
        .render(beginning=Markup(BEGINNING), style=Markup(style), script=Markup(script), **sources, **parts)
    )


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Name an inline style or script by its hash, as in a content security policy."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("shapae.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert,
    )
    environment.globals |= {"count": count, "percent": percent, "show": show, "rest_name": rest_name}
    return environment


def _inert(each: Any) -> Any:
    """Replace hidden characters of each text that reaches the page, wherever it comes from."""
    if not isinstance(each, str) or isinstance(each, Markup):
        return each
    return "\n".join(map(hide, each.split("\n")))
