"""Texts from others, made safe to display: as one line that controls neither a terminal nor a CI,
or as a name. Pure.

Texts from services, proxies and the files of others may contain line breaks, escape sequences,
characters that change the writing direction, and commands to the program that reads a CI log. Here
these become visible.
"""

# Every text from outside passes one of these functions before it is shown. Which one depends on the
# place: `escape_control` keeps the text, `excerpt` shortens it for a sentence, `one_line` for a
# line of an error, and `slug` makes it a part of an outcome, which reports group by. Texts are
# escaped when they are shown or stored, and not when they are received, because codes compare them.

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

MAX_SLUG_CHARACTERS = 64
MAX_LINE_CHARACTERS = 600
ENDING = 200
"""The number of characters at the end of a long line that are not removed. The end of an error
states what to do."""
MAX_KINDS = 5
"""The maximum number of kinds in a list, if others chose the names of the kinds."""
_COMMAND = re.compile(
    r":(?=:(?:add-mask|add-matcher|add-path|debug|echo|endgroup|error|group"
    r"|internal-set-repo-path|notice|remove-matcher|save-state|set-env|set-output|stop-commands"
    r"|warning)(?![\w-]))|#(?=#(?:vso|teamcity)?\[)",
    re.IGNORECASE,
)
"""CI commands: `::name` of GitHub Actions at the start of a line, with a name that its runner
knows, and `##vso[` of Azure Pipelines and `##teamcity[` at any position. Other words after `::` are
none, as in `generic::resource_exhausted`."""
SUSPECT = r"[^ -~]|::|##"
"""The pattern, also for RE2, which searches many texts at once, of texts that `escape_control`
may change."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""The control characters of ASCII, except the tab."""
_NO_WORD = re.compile("[^A-Za-z0-9_.-]")
_PUBLIC_QUERY = frozenset(
    {"model", "deployment", "api-version", "call_id", "intent"}
    | {"agent-name", "agent-version", "agent-project-name", "agent_id", "project_id"}
)


def escape_control(text: str) -> str:
    r"""Return the text on one line. Control and format characters and line separators become
    escapes: `\x1b`, `\u2028`.

    In a CI command, a backslash is inserted, so that it is no longer a command. A second call
    changes nothing.
    """
    if not text.isprintable():
        text = "".join(
            character if _is_shown(character) else repr(character)[1:-1] for character in text
        )
    return _COMMAND.sub(r"\g<0>\\", text)


def _is_shown(character: str) -> bool:
    """Return whether a character is a letter, a sign, or a space of any width."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str) -> str:
    """Return an error text as it is printed: on one line. If it is long, its middle is left out."""
    line = escape_control(text.strip())
    return (
        line
        if len(line) <= MAX_LINE_CHARACTERS
        else f"{line[: MAX_LINE_CHARACTERS - ENDING]} … {line[-ENDING:]}"
    )


def to_safe_json(value: Any) -> str:
    """Return JSON as commands print it: in ASCII. `##` may start a CI command, so it is escaped."""
    return json.dumps(value, indent=2, allow_nan=False).replace("##", r"#\u0023")


def excerpt(text: str, longest: int = 40) -> str:
    """Return a text from others as errors quote it: on one line, and truncated if it is long."""
    return escape_control(text if len(text) <= longest else f"{text[:longest]}…")


def top_counts(kinds: Mapping[str, int]) -> str:
    """Return the most frequent kinds, whose names others chose: `restart 400, ping 12, 3 more
    kinds 7`.
    """
    ranked = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    texts = [f"{excerpt(name) or 'without a name'} {count:,}" for name, count in ranked[:MAX_KINDS]]
    if more := ranked[MAX_KINDS:]:
        texts.append(
            f"{len(more)} more {'kind' if len(more) == 1 else 'kinds'}"
            f" {sum(count for _, count in more):,}"
        )
    return ", ".join(texts)


def slug(text: str) -> str:
    """Return a text as a part of an outcome: at most 64 characters, as `outcome_part` spells
    them.
    """
    return outcome_part(text[:MAX_SLUG_CHARACTERS])


def outcome_part(text: str) -> str:
    """Return the spelling of a text in an outcome: `_` for all but A-Z a-z 0-9 _ . -."""
    return _NO_WORD.sub("_", text)


def masked_query(url: str) -> str:
    """Return a URL with only the query values of well-known parameters. Others may be secret."""
    address, separator, query = url.partition("?")
    return address + separator + "&".join(_masked(parameter) for parameter in query.split("&"))


def _masked(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if unquote(name) in _PUBLIC_QUERY or not parameter:
        return parameter
    return f"{name}=***" if equals else "***"
