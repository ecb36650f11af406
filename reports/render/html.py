"""The rendering of a page as HTML, by one template and its macros. Only this module escapes
texts for HTML.
"""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup, escape

from reports.formatting import capitalize, join_present
from reports.render.blocks import (
    WHY,
    Code,
    Inline,
    Link,
    Page,
    Strong,
    Term,
    VerdictText,
    WebLink,
    more_notes,
    more_rows,
)
from reports.render.markers import MARKER_CHARACTERS, colour_class

OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
"""An option of a command, such as `-u`. A browser would break a line after its hyphens."""


@cache
def environment() -> Environment:
    """Return the environment of the templates in this package. It escapes all texts; an
    undefined name is an error.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    templates.filters["kind"] = lambda block: type(block).__name__
    templates.globals |= {
        "glyphs": MARKER_CHARACTERS,
        "capital": capitalize,
        "more_notes": more_notes,
        "more_rows": more_rows,
        "why": WHY,
    }
    templates.globals |= {"say": _text, "look": _style}
    templates.globals["colour"] = lambda target: "" if target is None else colour_class(target, "t")
    return templates


@pass_context
def _text(context: Context, text: Inline) -> Markup:
    """Return a text as HTML. A term links to its definition if the page has one."""
    match text:
        case str():
            return text if isinstance(text, Markup) else _unbroken(text)
        case Term(name):
            link = Markup('<a class="d" href="#def-{}">{}</a>').format(name.replace(" ", "-"), name)
            return link if name in context["defs"] else escape(name)
        case Code(code):
            return Markup("<code>{}</code>").format(_unbroken(code))
        case Link(words, path):
            return Markup('<a href="{}">{}</a>').format(
                quote(os.fsencode(path)), _text(context, words)
            )
        case WebLink(words, url):
            return Markup('<a href="{}">{}</a>').format(url, _text(context, words))
        case Strong(words):
            return Markup("<b>{}</b>").format(words)
        case VerdictText(words, word):
            return Markup('<span class="fig v-ink v-{}">{}</span>').format(
                word.replace(" ", "-"), words
            )
    return Markup("").join(_text(context, piece) for piece in text)


def _unbroken(text: str) -> Markup:
    return Markup(OPTION.sub(r'<span class="nowrap">\g<0></span>', str(escape(text))))


def _style(*classes: str) -> Markup:
    named = join_present(" ", *classes)
    return Markup(' class="{}"').format(named) if named else Markup("")


def render_html(page: Page) -> str:
    """Return the page as one self-contained file."""
    return environment().get_template("page.html.j2").render(page=page, defs=page.definitions)
