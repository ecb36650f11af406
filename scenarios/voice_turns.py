"""Spoken turns, paced as a microphone would send them, committed at their end and answered with audio.

Run it with `locust -f scenarios/voice_turns.py --headless -u 10 -t 1m`.
"""

from bench.load.user import RealtimeUser


class VoiceCaller(RealtimeUser):
    """A caller who speaks."""

    script = "scripts/voice_turns.yaml"
