"""What a check found, as `rtbench doctor` shows it. Pure."""

from dataclasses import dataclass
from typing import Literal

FindingState = Literal["pass", "warning", "fail", "skipped"]


@dataclass(frozen=True)
class CheckFinding:
    """The result of one check.

    `message` states what was found, with the measured value. `remedy` is "" if there is nothing to
    do.
    """

    name: str
    result: FindingState
    message: str
    remedy: str = ""


def warning_unless(good: bool, name: str, message: str, remedy: str) -> CheckFinding:
    """Return a finding. If `good` is True, the check passes. Otherwise the finding is a warning
    with the remedy.
    """
    return (
        CheckFinding(name, "pass", message)
        if good
        else CheckFinding(name, "warning", message, remedy)
    )
