"""The dialects of protocol files: those of users, and those of this package."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from bench.catalogue.outcomes import OwnRemedies
from bench.files.validation import AnyJson, StructOf
from bench.files.yaml_file import LocatedValue, PythonValue
from bench.services.pages.dialect import PageDialect
from bench.services.pages.page import COMPILED, FOLDER, PAGE
from bench.services.pages.remedies import OF_REPLIES
from bench.services.pages.replying_page import ReplyingPage
from bench.wire.service import BEARER, KeyHeader, Service


def _dialect(**values: Any) -> PageDialect:
    page = PAGE.build(**values)
    return PageDialect(page) if page.turns == "sound" else ReplyingPage(page)


DIALECT: StructOf[PageDialect] = StructOf(PAGE.fields, _dialect, nothing=False)
"""The form of a protocol file, which becomes a dialect."""


def dialect_in(value: LocatedValue) -> PageDialect:
    """Return the dialect of the content of a user's file. Raise UsageError with the place."""
    dialect = DIALECT.read(value)
    dialect.content = AnyJson().read(value)
    if isinstance(dialect, ReplyingPage):
        dialect.remedies = OwnRemedies(OF_REPLIES, in_doctor=dialect.remedies.in_doctor)
    return dialect


def service_of(dialect: PageDialect) -> Service:
    """Return the service that has only this dialect."""
    page = dialect.page
    key, address = page.key, urlsplit(page.url or "")
    return Service(
        dialect.name,
        dialect.title,
        dialect,
        page.url or "",
        hosts=(host,) if address.scheme == "wss" and (host := address.hostname) else (),
        key_header=BEARER if key is None else KeyHeader(key.header, key.scheme),
        api_key_env=None if key is None else key.env,
    )


# YAML is slow to parse, and every command would parse all files of this package.
_COMPILED = msgspec.json.decode((FOLDER / COMPILED).read_bytes())


def built_in(name: str) -> PageDialect:
    """Return the dialect of a file of this package."""
    return DIALECT.read(PythonValue("protocol", _COMPILED[name]))
