"""The call that is played on each engine: the scenario and its recordings come with the wheel."""

from scenarios.voice_turns import VoiceCaller

__all__ = ["VoiceCaller"]
