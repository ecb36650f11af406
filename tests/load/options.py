"""The parts of Locust's command line that our options need."""

from __future__ import annotations

import argparse
from typing import Any

import configargparse

from bench.load.planning.run_options import add_options


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]  # not typed
    """A parser with the features of Locust's parser that argparse lacks."""

    def add_argument(self, *names: str, include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    """Parse the arguments as Locust does."""
    parser = Parser()
    add_options(parser)
    return parser.parse_args(list(arguments), env_vars=environment)


class HelpParser(argparse.ArgumentParser):
    """The Python parser on which Locust's parser is based. Its names, values and helps are the expected ones."""

    def add_argument(self, *names: Any, env_var: str = "", include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def help_parser() -> HelpParser:
    """Return a parser with our options."""
    made = HelpParser(add_help=False)
    add_options(made)
    return made
