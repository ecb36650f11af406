"""Callers who talk over the reply: they say a word of assent, which is not meant to stop it, and then interrupt it.

Run it with `locust -f scenarios/barge_in.py --headless -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class InterruptingCaller(RealtimeUser):
    """A caller who has heard enough of an answer before it is over."""

    script = "scripts/barge_in.yaml"
