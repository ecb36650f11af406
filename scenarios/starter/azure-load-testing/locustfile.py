"""The calls that each engine makes. scenario.zip contains the script and its recordings."""

from rtbench import RealtimeUser


class Caller(RealtimeUser):
    """A caller who speaks; the service detects the end of each turn."""

    script = "scripts/voice_turns.yaml"
