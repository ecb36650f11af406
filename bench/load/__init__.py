"""Plays scenarios under Locust: what is planned, played and led, and the user whose tasks are sessions."""

from bench.windows import refuse_windows

refuse_windows()
