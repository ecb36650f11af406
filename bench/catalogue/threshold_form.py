"""The form of one threshold in a file: its text, or a table with its text and `abort`."""

from typing import Any, ClassVar

from bench.files.validation import Boolean, Field, Schema, String, StructOf, Validator
from bench.files.yaml_file import LocatedValue

TEXT = String("a threshold, such as p(95)<800")


class ThresholdForm(Validator[str | dict[str, Any]]):
    """A text, or a table. It is read as a text, or as a dictionary with the keys of the table."""

    table: ClassVar[StructOf[dict[str, Any]]] = StructOf(
        {
            "threshold": Field(TEXT, "The threshold, such as p(95)<800.", required=True),
            "abort": Field(
                Boolean(), "Whether the run stops as soon as the threshold fails.", default=False
            ),
        },
        dict,
    )

    def read(self, value: LocatedValue) -> str | dict[str, Any]:
        return self.table.read(value) if isinstance(value.content(), dict) else TEXT.read(value)

    def schema(self) -> Schema:
        return {"if": {"type": "object"}, "then": self.table.schema(), "else": TEXT.schema()}


THRESHOLD = ThresholdForm()
