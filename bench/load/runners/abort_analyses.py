"""The interim analyses of a run that stops when a threshold with `abort` fails.

`reports` evaluates the run folder in a child process. An analysis is due after each tenth of the
run. While the load generator is overloaded, no analysis starts, because latencies may then be those
of the load generator.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.load.runners.interim_analyses import ChildAnalyses, thresholds_text
from bench.record.document import AbortEntry


def abort_text(plan: AbortEntry, *, has_end: bool) -> str:
    """Return a line that states which thresholds stop the run. `has_end` is False if the end of
    the run is unknown.
    """
    stopping = (
        "the run stops early if one of these thresholds fails:"
        f" {thresholds_text(plan['thresholds'])}"
    )
    if not has_end:
        return (
            f"{stopping}; but this run has no planned end, so nothing is analysed: add --sessions"
            " or --run-time"
        )
    return f"{stopping}; at most {plan['analyses'] - 1} interim analyses"


class AbortAnalyses(ChildAnalyses):
    """The analyses of a run, made one at a time. `stop` ends the run, for a reason. `say` prints
    a problem.
    """

    def __init__(
        self,
        folder: Path,
        plan: AbortEntry,
        *,
        stop: Callable[[str], None],
        say: Callable[[str], None],
        command: Sequence[str],
    ) -> None:
        super().__init__(stop=stop, say=say)
        self._folder = folder
        self._plan = plan
        self._command = command
        self._tried = 0
        self._share = 0.0
        self._known_share = 0.0
        self._is_late = False

    def consider(self, share: float, late: str = "") -> None:
        """Start an analysis if one is due for the share of the previous call, whose rows are on the
        disk by now.

        `share` is the share of the run that is over. `late` is the text of the failed check if the
        load generator is overloaded. Then no analysis starts.
        """
        known = self._known_share
        self._known_share = share
        if late and not self._is_late:
            self._say(
                f"the load generator is overloaded ({late}), so thresholds with `abort` are not"
                " analysed"
            )
        self._is_late = bool(late)
        due = int(known * self._plan["analyses"])
        if (
            self._is_late
            or self._ended
            or self._running
            or not self._tried < due < self._plan["analyses"]
        ):
            return
        self._tried = due
        self._share = known
        request = json.dumps({"made": self._plan["made"], "share": known})
        self._start([*self._command, str(self._folder), request])

    def _sentence(self, result: dict[str, Any]) -> str:
        if result["sessions"]:
            self._plan["made"].append({"sessions": int(result["sessions"]), "share": self._share})
        if not result["sentence"] or self._is_late:
            return ""
        self._plan["reason"] = result["reason"]
        return str(result["sentence"])

    def entry(self, stop_reason: str) -> AbortEntry:
        """Return the analyses as run.json stores them. `stop_reason` is why the run ended."""
        is_stopped = bool(stop_reason) and stop_reason == self.answer
        return self._plan if is_stopped else self._plan | {"reason": None}
