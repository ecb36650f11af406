"""The parts of Locust's command-line parser that our options need."""

from __future__ import annotations

import argparse
from typing import Any

import configargparse

from bench.load.planning.command_line import RunArguments, run_arguments
from bench.load.planning.run_options import add_command, add_options


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]  # not typed
    """A parser with those features of Locust's parser that argparse does not have."""

    def add_argument(self, *names: str, include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    """Parse the arguments as Locust does."""
    parser = Parser()
    add_options(parser)
    return parser.parse_args(list(arguments), env_vars=environment)


def of_command(*arguments: str) -> argparse.Namespace:
    """Parse the arguments as `rtbench run` does."""
    parser = Parser()
    for own in (("--headless", False), ("--loglevel", "INFO")):
        parser.add_argument(own[0], default=own[1])
    add_options(parser)
    add_command(parser)
    return parser.parse_args(list(arguments), env_vars={})


def read(line: str, free: str) -> RunArguments:
    """Return the parsed words of `rtbench run`.

    `free` contains the words that belong to no option; each of them occurs once in `line`.
    """
    words = line.split()
    return run_arguments(words, {words.index(word) for word in free.split()})


class HelpParser(argparse.ArgumentParser):
    """A parser of Python's argparse, on which Locust's parser is based.

    Tests compare its names, values and helps with those of our options.
    """

    def add_argument(
        self, *names: Any, env_var: str = "", include_in_web_ui: bool = True, **settings: Any
    ) -> Any:
        return super().add_argument(*names, **settings)


def help_parser() -> HelpParser:
    """Return a parser that has our options."""
    made = HelpParser(add_help=False)
    add_options(made)
    return made
