"""The days, as of 26 November 2026, on which services retire models, with sources. Pure. A day
may be postponed.
"""

from dataclasses import dataclass
from datetime import date

SOON_DAYS = 60
"""The number of days before a retirement from which a warning is shown. Results for such a model
say little about later models. Azure sends its notices equally early."""


@dataclass(frozen=True)
class Retirement:
    """The retirement of a model. From `day` on, the service does not have it. `source` is where
    this was published.
    """

    model: str
    day: date
    source: str

    def days_left(self, today: date) -> int:
        """Return the number of days until the retirement; negative if it is in the past."""
        return (self.day - today).days

    def text(self, today: date) -> str:
        """Return a text such as `is switched off on 2027-01-20, in 59 days
        (developers.openai.com/…)`.
        """
        days = self.days_left(today)
        days_text = f"{abs(days)} day{'' if abs(days) == 1 else 's'}"
        relative_day = (
            f"in {days_text}" if days > 0 else "today" if days == 0 else f"{days_text} ago"
        )
        is_off = "is switched off" if days >= 0 else "was to be switched off"
        return f"{is_off} on {self.day.isoformat()}, {relative_day} ({self.source})"


def retirements(*rows: tuple[str, str, str]) -> dict[str, Retirement]:
    """Return (model, day, source) by model. A dated version retires with the model, unless it
    has its own row.
    """
    return {
        model: Retirement(model, date.fromisoformat(day), source) for model, day, source in rows
    }
