"""Text calls and voice calls in alternation, so that a run has as many of one kind as of the other.

`rtbench quickstart` plays it with the simulator. Run it with
`locust -f scenarios/quickstart.py --headless -u 20 --sessions 100`.
"""

from itertools import cycle
from typing import ClassVar

from rtbench import RealtimeUser, script


class QuickstartCaller(RealtimeUser):
    """A caller who types or speaks, whichever the caller before did not."""

    tasks: ClassVar = [script("scripts/text_turns.yaml"), script("scripts/voice_turns.yaml")]
    kinds = cycle(tasks)
    """The next calls of all callers. Callers who each choose a kind play more text calls, which are shorter."""

    def play_session(self, task: object) -> None:
        super().play_session(next(self.kinds))
