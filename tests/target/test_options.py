"""The options of a target. They are the same on Locust's command line, on that of rtbench, and
in `targets.yaml`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.base.errors import UsageError
from bench.load.planning.run_options import Options
from bench.target.target_settings import OPTIONS, ServiceOptions, targets_schema
from bench.target.targets import resolve_targets
from rtbench.cli.app import command
from tests.load.options import help_parser

SHARED = (
    "url",
    "dialect",
    "api_key_env",
    "auth",
    "ca_file",
    "client_cert",
    "client_key",
    "proxy",
    "resolve",
    "compression",
    "max_message_mib",
    "srtp",
)
COMMANDS = {
    "doctor": ("targets", "target_file", *SHARED),
    "probe": ("targets", "target_file", *SHARED),
    "capacity": ("targets", "target_file", *SHARED),
    "quickstart": ("targets", "target_file"),
}


class OptionHelp(NamedTuple):
    """The description of an option. `note` is its text without the choices, and `words` contains
    the choices.
    """

    note: str
    words: tuple[str, ...]


def plain(note: str) -> str:
    """Return a note in lower case, without the period at its end."""
    return re.sub(r"\s+", " ", note).strip().removesuffix(".").casefold()


def parse_help(help_text: str) -> OptionHelp:
    """Split a help text into its note and its choices. They are written as `how …; one of key,
    basic or entra`.
    """
    note, _, words = plain(help_text).partition("; one of ")
    return OptionHelp(note, tuple(re.split(", | or ", words)) if words else ())


def of_locust() -> dict[str, OptionHelp]:
    actions = help_parser()._actions
    return {
        action.dest: OptionHelp(plain((action.help or "") % {}), tuple(action.choices or ()))
        for action in actions
    }


def of_command(name: str) -> dict[str, OptionHelp]:
    return {
        option.name: parse_help(option.help)
        for option in command(name).params
        if getattr(option, "help", "")
    }


def of_file() -> dict[str, OptionHelp]:
    keys = targets_schema()["properties"]["targets"]["additionalProperties"]["properties"]
    return {
        name: OptionHelp(plain(key["description"]), words_in(key)) for name, key in keys.items()
    }


def words_in(schema: dict[str, Any]) -> tuple[str, ...]:
    """Return the choices of the first enumeration that a schema contains."""
    found = (
        words for key in ("then", "else") if key in schema and (words := words_in(schema[key]))
    )
    return tuple(word for word in schema.get("enum", ()) if word is not None) or next(found, ())


@pytest.mark.parametrize("command", COMMANDS)
def test_target_options_of_a_command_equal_those_of_locust(command: str) -> None:
    locust, own = of_locust(), of_command(command)

    assert {name: own.get(name) for name in COMMANDS[command]} == {
        name: locust[name] for name in COMMANDS[command]
    }


@pytest.mark.parametrize("name", SHARED)
def test_a_key_of_targets_yaml_has_the_description_of_its_option(name: str) -> None:
    assert of_file()[name] == of_locust()[name]


EXAMPLES: dict[type, Any] = {
    bool: True,
    int: 3,
    tuple: ("west", "east.quick"),
    str: "ws://127.0.0.1:1",
    Path: Path("/a/path"),
}


def parsed_options(*words: str) -> ServiceOptions:
    """Return the service options of a run that has this command line."""
    return Options.of(help_parser().parse_args(words)).service_options


@pytest.mark.parametrize("name", OPTIONS)
def test_options_passed_on_by_a_command_are_parsed_by_a_run(name: str) -> None:
    option = OPTIONS[name]
    value: Any = option.words[-1] if option.words else EXAMPLES[option.kind]
    given = replace(ServiceOptions(simulator=name == "simulator_profile"), **{name: value})

    assert given != ServiceOptions()
    assert parsed_options(*given.arguments()) == given


@pytest.mark.parametrize("size", ["0", "-1", "1025"])
def test_an_invalid_message_size_is_passed_on_and_refused(size: str) -> None:
    given = parsed_options(f"--max-message-mib={size}")

    assert parsed_options(*given.arguments()) == given
    with pytest.raises(
        UsageError,
        match=r"--max-message-mib must be a whole number of MiB from 1 to 1024, not -?\d+",
    ):
        resolve_targets({}, given)


@pytest.mark.parametrize("names", ["west,", ",", "west,,east", " "])
def test_an_empty_name_of_a_target_is_refused(names: str) -> None:
    with pytest.raises(
        UsageError, match=r"--targets must be names of targets.yaml, separated by commas"
    ):
        parsed_options("--targets", names)
