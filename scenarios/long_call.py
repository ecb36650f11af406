"""Calls that start deep in a conversation: what was said before is told to the service, and is not spoken again.

Run it with `locust -f scenarios/long_call.py --headless -u 10 -t 1m`, or another one deep in a conversation of your own
with `--history FILE`.
"""

from rtbench import RealtimeUser


class LongCaller(RealtimeUser):
    """A caller who has been talking for a while already."""

    script = "scripts/long_call.yaml"
