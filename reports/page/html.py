"""HTML: one template and one set of macros pour every page of this project."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.filters import do_urlencode
from jinja2.runtime import Context
from markupsafe import Markup, escape

from reports.blocks import Code, Inline, Judged, Link, Page, Strong, Term, kinds
from reports.page.svg import GLYPHS, tone


@cache
def environment() -> Environment:
    """Templates of this package; everything is escaped, what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.filters["kind"] = kinds
    made.globals |= {"glyphs": GLYPHS, "say": _say, "look": _look, "tone": _tone}
    return made


@pass_context
def _say(context: Context, text: Inline) -> Markup:
    """A text, in which the names of what has a definition lead to it."""
    match text:
        case str():
            return escape(text)
        case Term(name):
            anchor = name.replace(" ", "-")
            return (
                Markup('<a class="d" href="#def-{}">{}</a>').format(anchor, name)
                if name in context["defs"]
                else escape(name)
            )
        case Code(code):
            return Markup("<code>{}</code>").format(code)
        case Link(words, path):
            return Markup('<a href="{}">{}</a>').format(do_urlencode(path), _say(context, words))
        case Strong(words):
            return Markup("<b>{}</b>").format(words)
        case Judged(words, word):
            return Markup('<span class="fig v-ink v-{}">{}</span>').format(word.replace(" ", "-"), words)
    return Markup("").join(_say(context, part) for part in text)


def _look(*classes: str) -> Markup:
    """The attribute of those of the classes that are not empty."""
    named = " ".join(filter(None, classes))
    return Markup(' class="{}"').format(named) if named else Markup("")


def _tone(target: int | None) -> str:
    """The class of a target's colour."""
    return "" if target is None else f"t{tone(target)}"


def poured(page: Page) -> str:
    """The page: one file that needs nothing else."""
    return environment().get_template("page.html.j2").render(page=page, defs=page.definitions, tabs=page.tabs)
