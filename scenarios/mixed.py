"""Text calls and voice calls in one run, three text sessions to one voice session. Each script has
its own rows.

Run it with `rtbench run scenarios/mixed.py -u 10 -t 1m`.
"""

from rtbench import RealtimeUser, script


class MixedCaller(RealtimeUser):
    """A caller who mostly types."""

    tasks = {script("scripts/text_turns.yaml"): 3, script("scripts/voice_turns.yaml"): 1}
