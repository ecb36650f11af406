"""Text turns with spoken replies: `rtbench run scenarios/text_turns.py -u 10 -t 1m`."""

from rtbench import RealtimeUser


class TextCaller(RealtimeUser):
    """A caller who types."""

    script = "scripts/text_turns.yaml"
