"""Typed and spoken turns side by side, three sessions of text to one of speech; each script has rows of its own.

Run it with `locust -f scenarios/mixed.py --headless -u 10 -t 1m`.
"""

from rtbench import RealtimeUser, script


class MixedCaller(RealtimeUser):
    """A caller who mostly types."""

    tasks = {script("scripts/text_turns.yaml"): 3, script("scripts/voice_turns.yaml"): 1}
