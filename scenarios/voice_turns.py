"""Spoken turns, sent as a microphone would send them; the service's server VAD notices where each one ends.

Run it with `locust -f scenarios/voice_turns.py --headless -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class VoiceCaller(RealtimeUser):
    """A caller who speaks, and leaves it to the service to notice that a turn is over."""

    script = "scripts/voice_turns.yaml"
