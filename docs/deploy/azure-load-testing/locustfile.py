"""The call that each engine runs: the wheel contains the scenario and its recordings."""

from scenarios.voice_turns import VoiceCaller

__all__ = ["VoiceCaller"]
