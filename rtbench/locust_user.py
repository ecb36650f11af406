"""The user of Locust files. Its import binds this process to Locust's events."""

from bench.load.runners import locust_events
from bench.load.user import RealtimeUser, script
from rtbench.evaluation import EVALUATION

__all__ = ["RealtimeUser", "script"]

locust_events.register(EVALUATION)
