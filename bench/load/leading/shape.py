"""Has Locust follow the stages of a load: so many users, told anew each second."""

from __future__ import annotations

import math

from locust import LoadTestShape

from bench.load.planning.stages import LoadCourse


class StagedLoad(LoadTestShape):  # type: ignore[misc]  # Locust is not typed
    """A load shape that follows a course of sessions, and ends the run with it."""

    def __init__(self, course: LoadCourse) -> None:
        super().__init__()
        self._course = course

    def tick(self) -> tuple[int, float] | None:
        """The users that there are to be now, and how many may be added or taken away in a second."""
        at_s = self.get_run_time()
        if at_s >= self._course.length_s:
            return None
        return math.ceil(self._course.level(at_s)), max(1.0, self._course.peak)
