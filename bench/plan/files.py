"""The shape of a key that names a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench.errors import UsageError
from bench.shapes import Schema, Shape, Text
from bench.yaml_file import Value

T = TypeVar("T")


@dataclass(frozen=True)
class File(Shape[T]):
    """The path of a file, seen from the folder of whatever names it; `load` makes of it what it holds."""

    load: Callable[..., T]

    def read(self, value: Value) -> T:
        path = Text().read(value)
        if not path.isprintable():
            raise value.unlike("the path of a file")
        try:
            return self.load(value.folder / path)
        except UsageError as error:
            raise value.refuse(str(error)) from None

    def schema(self) -> Schema:
        return Text().schema()
