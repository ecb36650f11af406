"""The options of a target are the same at every door: Locust's command line, that of commands, and `targets.yaml`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from bench.errors import UsageError
from bench.load.planning.run_options import Options
from bench.target.options import OPTIONS, ServiceOptions
from bench.target.target_settings import targets_schema
from bench.target.targets import resolve_targets
from rtbench.cli.app import app
from tests.load.options import help_parser

SHARED = ("url", "dialect", "api_key_env", "auth", "ca_file", "client_cert", "client_key", "proxy", "resolve",
          "compression", "max_message_mib")  # fmt: skip
COMMANDS = {
    "doctor": ("targets", "target_file", *SHARED),
    "probe": ("targets", "target_file", *SHARED),
    "capacity": ("targets", "target_file", *SHARED),
    "quickstart": ("targets", "target_file"),
}


class Shown(NamedTuple):
    """What a door says of an option: what it is for, without its words, and the words that it may be."""

    note: str
    words: tuple[str, ...]


def plain(note: str) -> str:
    """A note in small letters, without the full stop of a sentence."""
    return re.sub(r"\s+", " ", note).strip().removesuffix(".").casefold()


def apart(help_text: str) -> Shown:
    """A note and the words behind it: `how …; one of key, basic or entra.`"""
    note, _, words = plain(help_text).partition("; one of ")
    return Shown(note, tuple(re.split(", | or ", words)) if words else ())


def of_locust() -> dict[str, Shown]:
    actions = help_parser()._actions
    return {action.dest: Shown(plain((action.help or "") % {}), tuple(action.choices or ())) for action in actions}


def of_command(name: str) -> dict[str, Shown]:
    commands: Any = typer.main.get_command(app)
    return {option.name: apart(option.help) for option in commands.commands[name].params if getattr(option, "help", "")}


def of_file() -> dict[str, Shown]:
    keys = targets_schema()["properties"]["targets"]["additionalProperties"]["properties"]
    return {name: Shown(plain(key["description"]), words_in(key)) for name, key in keys.items()}


def words_in(schema: dict[str, Any]) -> tuple[str, ...]:
    """The words of the first enumeration in a schema."""
    found = (words for key in ("then", "else") if key in schema and (words := words_in(schema[key])))
    return tuple(word for word in schema.get("enum", ()) if word is not None) or next(found, ())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_and_describes_the_options_of_a_target_as_locust_does(command: str) -> None:
    locust, own = of_locust(), of_command(command)

    assert {name: own.get(name) for name in COMMANDS[command]} == {name: locust[name] for name in COMMANDS[command]}


@pytest.mark.parametrize("name", SHARED)
def test_a_key_of_targets_yaml_is_described_as_the_option_of_its_name(name: str) -> None:
    assert of_file()[name] == of_locust()[name]


EXAMPLES: dict[type, Any] = {int: 3, tuple: ("west", "east.quick"), str: "ws://127.0.0.1:1", Path: Path("/a/path")}


def taken(*words: str) -> ServiceOptions:
    """What a run takes of a command line."""
    return Options.of(help_parser().parse_args(words)).service_options


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_takes_what_a_command_hands_on_to_it(name: str) -> None:
    option = OPTIONS[name]
    given = replace(ServiceOptions(), **{name: option.words[-1] if option.words else EXAMPLES[option.kind]})

    assert given != ServiceOptions()
    assert taken(*given.words()) == given


@pytest.mark.parametrize("size", ["0", "-1", "1025"])
def test_a_size_of_messages_that_cannot_be_is_refused_whoever_hands_it_on(size: str) -> None:
    given = taken(f"--max-message-mib={size}")

    assert taken(*given.words()) == given
    with pytest.raises(UsageError, match=r"--max-message-mib must be a whole number of MiB from 1 to 1024, not -?\d+"):
        resolve_targets({}, given)


@pytest.mark.parametrize("names", ["west,", ",", "west,,east", " "])
def test_an_empty_name_of_a_target_is_refused(names: str) -> None:
    with pytest.raises(UsageError, match=r"--targets must be names of targets.yaml, separated by commas"):
        taken("--targets", names)
