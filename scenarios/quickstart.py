"""Text calls and voice calls in alternation, so that a run has equal numbers of both.

`rtbench quickstart` runs it with the simulator. Run it with
`rtbench run scenarios/quickstart.py -u 20 --sessions 100`.
"""

from rtbench import RealtimeUser, script


class QuickstartCaller(RealtimeUser):
    """A caller who types if the previous caller spoke, and speaks if the previous caller typed."""

    in_turn = True
    tasks = [script("scripts/text_turns.yaml"), script("scripts/voice_turns.yaml")]
