"""Calls to the simulator on this engine. The labels of the run are facts about the engine."""

from locust import events

from rtbench.azure_load_testing.engine_facts import labels
from scenarios.voice_turns import VoiceCaller

__all__ = ["VoiceCaller"]


@events.init_command_line_parser.add_listener
def set_labels(parser, **_):
    """Make the facts about this engine the labels of the run."""
    parser.set_defaults(label=labels())
