"""Callers who talk over the reply: first a backchannel, which should not stop it, then an
interruption.

Run it with `rtbench run scenarios/barge_in.py -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class InterruptingCaller(RealtimeUser):
    """A caller who interrupts an answer."""

    script = "scripts/barge_in.yaml"
