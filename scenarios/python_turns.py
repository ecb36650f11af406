"""A session written in Python: the steps of a YAML script, together with any Python code.

Run it with `rtbench run scenarios/python_turns.py -u 10 -t 1m`.
"""

from locust import task

from rtbench import RealtimeUser


class PythonCaller(RealtimeUser):
    """A caller who types first and then speaks. `session` has the keys of a script's `session`."""

    session = {"voice": "alloy", "max_output_tokens": 400, "turn_detection": "server_vad"}

    @task
    def call(self) -> None:
        """Run one session."""
        self.text("Hello, what can you do?", name="greeting")
        self.expect("response_created", within=5)
        for name in ("opening_hours", "late_parcel"):
            self.pause(1.0)
            self.audio(f"audio/{name}.wav", name=name)
