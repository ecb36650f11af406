"""Locust's command line, as far as our options need it."""

from __future__ import annotations

import argparse
from typing import Any

import configargparse

from bench.load.planning.run_options import add_options


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]  # it is not typed
    """Locust's, as far as it goes beyond argparse."""

    def add_argument(self, *names: str, include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    """As Locust's parser reads them."""
    parser = Parser()
    add_options(parser)
    return parser.parse_args(list(arguments), env_vars=environment)


class HelpParser(argparse.ArgumentParser):
    """Python's own, which Locust's is made of: the oracle of names, values and helps."""

    def add_argument(self, *names: Any, env_var: str = "", include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def help_parser() -> HelpParser:
    """With our options."""
    made = HelpParser(add_help=False)
    add_options(made)
    return made
