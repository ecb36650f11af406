"""Makes of texts what a run folder may hold: Unicode, nothing secret, and of others' words one line that ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plain import printable
from bench.run.redact import Hide

FOREIGN = frozenset({
    "outcome", "detail", "close_reason", "service_session_id", "response_id", "answer_response_id", "item_id",
    "model", "region", "request_id", "said", "replied",
})  # fmt: skip
"""Columns with words of a service, or of an exception in a user's code; all others are ours, and stay as they are."""
SPOKEN = frozenset({"said", "replied"})
"""The columns of what was said, which stays as it was said: JSON holds it."""
CUT = frozenset({"detail", "close_reason"})
DETAIL_CHARACTERS = 300


class Words:
    """Cleans the texts of columns. `hide` takes secrets out, wherever in a text they stand."""

    def __init__(self, hide: Hide) -> None:
        self._hide = hide

    def cleaned(self, column: str, text: str) -> str:
        """Hide secrets, and only then escape and cut: a secret that was cut or escaped would not be known for one."""
        text = text.encode("utf-8", "replace").decode()
        shown = self._hide(text) if column in FOREIGN else text
        shown = printable(shown) if column in FOREIGN - SPOKEN else shown
        return shown[:DETAIL_CHARACTERS] if column in CUT else shown

    def cleaned_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with all of its texts cleaned."""
        return {
            column: self.cleaned(column, value) if isinstance(value, str) else value for column, value in row.items()
        }

    def cleaned_column(self, column: str, texts: Sequence[str | None]) -> Sequence[str | None]:
        """As `cleaned` makes them one by one; all together first, for hardly ever is there anything to be done."""
        together = " ".join(filter(None, texts))
        if not together or self.cleaned(column, together) == together:
            return texts
        return [text and self.cleaned(column, text) for text in texts]
