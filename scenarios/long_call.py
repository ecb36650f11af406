"""Calls that start deep in a conversation: the service receives the history as text.

Run it with `rtbench run scenarios/long_call.py -u 10 -t 1m`. To run any other scenario deep in a
conversation of your own, add `--history FILE`.
"""

from rtbench import RealtimeUser


class LongCaller(RealtimeUser):
    """A caller with a long conversation before the first turn."""

    script = "scripts/long_call.yaml"
