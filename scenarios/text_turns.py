"""Text turns with spoken replies: `locust -f scenarios/text_turns.py --headless -u 10 -t 1m`."""

from rtbench import RealtimeUser


class TextCaller(RealtimeUser):
    """A caller who types."""

    script = "scripts/text_turns.yaml"
