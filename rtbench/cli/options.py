"""The form of options and arguments: a sentence, the names that the help shows, and further
settings of Typer.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command. Its help shows switches without the type of a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        return plain_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands. Its help shows switches without the type of a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        return plain_switches(super().get_params(ctx))


def plain_switches(parameters: list[Any]) -> list[Any]:
    """Leave out the type of a switch, and the `--no-NAME` of one that is off by default."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
            parameter.secondary_opts *= bool(parameter.default)
    return parameters


def help_of(command: Callable[..., None]) -> str:
    """Return the docstring of a command, each paragraph on one line."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def option(text: str, *names: str, **more: Any) -> Any:
    """Return an option for `Annotated`. `names` is its flags, and the name of its value: "-o",
    "--out", "FOLDER".

    Without a flag, the name of the option is that of the parameter.
    """
    flags = [name for name in names if name.startswith("-")]
    metavar = next((name for name in names if name not in flags), None)
    return typer.Option(*flags, help=text, metavar=metavar, **more)


def argument(
    text: str, metavar: str | None = None, *, show_default: bool = False, **more: Any
) -> Any:
    """Return an argument for `Annotated`. `metavar` is its name in the help."""
    return typer.Argument(metavar=metavar, help=text, show_default=show_default, **more)


ThresholdTexts = Annotated[
    list[str] | None,
    option(
        "Thresholds in a YAML file, or one threshold such as 'ttfa: p(95)<800'; may be repeated.",
        "--thresholds",
        "FILE|THRESHOLD",
    ),
]
"""The type of the option `--thresholds`."""
