"""The days on which services retire models, with the source of each day.

The table is as of 26 November 2026; a service may postpone a day. This module reads no clock: the caller passes the
current day, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bench.catalogue.pricing import undated

SOON_DAYS = 60
"""The number of days before a retirement from which a warning is shown.

Results for such a model say little about later models. Azure sends its notices equally early.
"""

OPENAI_PAGE = "developers.openai.com/api/docs/deprecations"
AZURE_SCHEDULE = "Microsoft's retirement schedule of Foundry models, July 2026"
A_TRACKER = "a tracker of OpenAI's deprecations, March 2026; unverified"


@dataclass(frozen=True)
class Retirement:
    """The retirement of a model. From `day` on, the service does not have it. `source` is where this was published."""

    model: str
    day: date
    source: str

    def days_left(self, today: date) -> int:
        """Return the number of days until the retirement; negative if it is in the past."""
        return (self.day - today).days

    def text(self, today: date) -> str:
        """Return a text such as `is switched off on 2027-01-20, in 59 days (developers.openai.com/…)`."""
        days = self.days_left(today)
        days_text = f"{abs(days)} day{'' if abs(days) == 1 else 's'}"
        relative_day = f"in {days_text}" if days > 0 else "today" if days == 0 else f"{days_text} ago"
        is_off = "is switched off" if days >= 0 else "was to be switched off"
        return f"{is_off} on {self.day.isoformat()}, {relative_day} ({self.source})"


def _table(*rows: tuple[str, str, str]) -> dict[str, Retirement]:
    return {model: Retirement(model, date.fromisoformat(day), source) for model, day, source in rows}


RETIREMENTS = {
    "openai": _table(
        ("gpt-4o-realtime-preview", "2026-05-07", A_TRACKER),
        ("gpt-4o-mini-realtime-preview", "2026-05-07", A_TRACKER),
        ("gpt-5", "2026-12-11", OPENAI_PAGE),
        ("gpt-5-mini", "2026-12-11", OPENAI_PAGE),
        ("gpt-5-nano", "2026-12-11", OPENAI_PAGE),
        ("gpt-realtime", "2027-01-20", OPENAI_PAGE),
        ("gpt-realtime-mini", "2027-01-20", OPENAI_PAGE),
        ("whisper-1", "2027-02-26", OPENAI_PAGE),
        ("gpt-4o-transcribe", "2027-02-26", OPENAI_PAGE),
        ("gpt-4o-transcribe-diarize", "2027-02-26", OPENAI_PAGE),
        ("gpt-4o-mini-transcribe", "2027-02-26", OPENAI_PAGE),
    ),
    "azure": _table(
        ("gpt-4o-realtime-preview-2024-10-01", "2025-03-26", "learn.microsoft.com, legacy models"),
        ("gpt-realtime-mini-2025-10-06", "2026-07-23", AZURE_SCHEDULE),
        ("gpt-realtime-mini-2025-12-15", "2026-12-15", AZURE_SCHEDULE),
        ("gpt-realtime-1.5", "2027-02-23", AZURE_SCHEDULE),
        ("gpt-realtime", "2027-02-28", AZURE_SCHEDULE),
        ("gpt-realtime-2", "2027-05-06", AZURE_SCHEDULE),
        ("gpt-realtime-2.1", "2027-06-25", AZURE_SCHEDULE),
        ("gpt-realtime-2.1-mini", "2027-06-25", AZURE_SCHEDULE),
    ),
}
"""The retirements of models, by service and model. Services have the names that targets use.

A dated version of a model retires with the model, unless the table contains the version.
"""


def retirement_of(service: str, model: str) -> Retirement | None:
    """Return the retirement of a model, by the name that the service reports; None if no retirement is known."""
    models = RETIREMENTS.get(service, {})
    return models.get(model) or models.get(undated(model))
