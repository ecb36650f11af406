"""Callers of an agent that looks things up: the service calls a function, which takes time, before
it answers.

Run it with `rtbench run scenarios/tools.py -u 10 -t 1m`.
"""

from rtbench import RealtimeUser


class AgentCaller(RealtimeUser):
    """A caller who asks for something that the service must look up."""

    script = "scripts/tools.yaml"
