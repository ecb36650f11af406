"""Spoken turns without turn detection: each is sent at the pace of a microphone and committed at
its end.

Run it with `rtbench run scenarios/voice_manual.py -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class ManualCaller(RealtimeUser):
    """A caller who speaks and marks the end of each turn."""

    script = "scripts/voice_manual.yaml"
