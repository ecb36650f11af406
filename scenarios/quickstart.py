"""Text calls and voice calls in alternation, so that a run has equal numbers of both.

`rtbench quickstart` runs it with the simulator. Run it with
`locust -f scenarios/quickstart.py --headless -u 20 --sessions 100`.
"""

from itertools import cycle
from typing import ClassVar

from rtbench import RealtimeUser, script


class QuickstartCaller(RealtimeUser):
    """A caller who types if the previous caller spoke, and speaks if the previous caller typed."""

    tasks: ClassVar = [script("scripts/text_turns.yaml"), script("scripts/voice_turns.yaml")]
    kinds = cycle(tasks)
    """The next calls of all callers. If each chose separately, more of them would be text calls, which are shorter."""

    def run_session(self, task: object) -> None:
        super().run_session(next(self.kinds))
