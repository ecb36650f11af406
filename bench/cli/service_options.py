"""The options by which commands name a service and the way to it, as `bench.target.options` has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from bench.target.options import OPTIONS, ServiceOptions, TargetOption

PANEL = "The service and the way to it"
OF_COMMANDS = tuple(name for name in OPTIONS if name != "prices")
"""A file of prices is of runs."""


def with_service_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options beside its own, all by name alone; all of them where none is named.

    It gets them as `service_options`.
    """
    shared = [_parameter(OPTIONS[name]) for name in names or OF_COMMANDS]

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "service_options"
        ]

        def called(**given: Any) -> None:
            chosen = {parameter.name: given.pop(parameter.name) for parameter in shared}
            command(service_options=ServiceOptions.of(chosen), **given)

        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]  # typer reads it
        return called

    return decorated


def _parameter(option: TargetOption) -> inspect.Parameter:
    """An option as typer takes it from a function."""
    words = f"; one of {', '.join(option.words)}" if option.words else ""
    told = typer.Option(help=f"{option.sentence[:-1]}{words}.", metavar=option.metavar, rich_help_panel=PANEL)
    kind = str if option.kind is tuple else option.kind
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, told]
    )
