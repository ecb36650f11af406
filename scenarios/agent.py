"""Callers of your own agent: they wait for its greeting, ask questions, and interrupt an answer.

Run it with `rtbench run scenarios/agent.py -u 10 -t 1m --url ws://localhost:5050/ws --dialect
twilio`.
"""

from rtbench import RealtimeUser


class AgentCaller(RealtimeUser):
    """A caller of an agent behind Twilio, behind Azure Communication Services, or on a plain
    WebSocket.
    """

    script = "scripts/agent.yaml"
