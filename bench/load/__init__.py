"""Plays scenarios under Locust: what is planned, played and led, and the user whose tasks are sessions."""

from bench.installation import refuse_windows

refuse_windows()
