"""Calls with an interruption, spoken calls, and typed calls in turn, so that a run has equal
numbers of each.

`rtbench quickstart` runs it with the simulator. Run it with
`rtbench run scenarios/quickstart.py -u 20 --sessions 135`.
"""

from rtbench import RealtimeUser, script


class QuickstartCaller(RealtimeUser):
    """A caller who talks over a reply; the next one speaks without interrupting, and the one
    after that types.
    """

    in_turn = True
    timeouts = {"first_delta": 8}  # a missing reply near the end delays the report by this time
    # the longest calls first, so that the run does not end with one of them
    tasks = [
        script("scripts/barge_in.yaml"),
        script("scripts/voice_turns.yaml"),
        script("scripts/text_turns.yaml"),
    ]
