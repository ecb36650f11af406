"""Spoken turns, sent at the pace of a microphone. The service's server VAD detects the end of each.

Run it with `rtbench run scenarios/voice_turns.py -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class VoiceCaller(RealtimeUser):
    """A caller who speaks; the service detects the end of each turn."""

    script = "scripts/voice_turns.yaml"
