"""Holds the effective session of one client: what events show of it, and what that means for hearing and speaking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.protocol.simulated import SIMULATOR_MARK
from bench.simulator.checks import EventPlace, merged, missing
from bench.simulator.fillers import Fillers, fillers_of
from bench.simulator.functions import ResponseTools, tools_of
from bench.simulator.history import HistoryTruncation, truncation_of
from bench.simulator.session_form import OutputSettings, SessionForm
from bench.simulator.wire import Json, RejectedError

GA_TYPES = ("realtime", "transcription")


class EffectiveSession:
    """`shown` is the session object of events; `input` is what it says of hearing."""

    def __init__(self, form: SessionForm, session_id: str, model: str, expires_at_s: int) -> None:
        self.form, self.model = form, model
        self._take(form.opened(session_id, model, expires_at_s))

    def update(self, wanted: Any, place: EventPlace, *, has_spoken: bool) -> None:
        """Take a session.update, whole. Raises RejectedError."""
        ignored = [SIMULATOR_MARK, *self.form.ignored]  # of clients that send back what they were shown
        if isinstance(wanted, dict):
            _check_type(self.form, wanted, place)
            ignored += [key for key in self.form.ignored_nulls if wanted.get(key) is None]
        updated = self.form.settled(merged(self.form.table, self.shown, wanted, place, ignored=ignored), wanted)
        if has_spoken and self._output(updated, {}).voice != self.output({}).voice:
            problem = "Cannot update a conversation's voice if assistant audio is present."
            raise RejectedError("cannot_update_voice", problem)
        self._take(updated)

    def output(self, response: Json) -> OutputSettings:
        """What a response gives out whose response.create asked for `response`."""
        return self._output(self.shown, response)

    def tools(self, response: Json, listed: Mapping[str, Sequence[Json]]) -> ResponseTools:
        """The functions and `listed` tools that such a response may call. Raises RejectedError for a choice of none."""
        return tools_of(self.shown | response, listed)

    def effort(self, response: Json) -> str:
        """How much such a response reasons, in the words of the wire; nothing where nobody says so."""
        chosen = self.shown | response
        reasoning = chosen.get("reasoning") or {}
        return str(reasoning.get("effort") or chosen.get("reasoning_effort", ""))

    def fillers(self, response: Json) -> Fillers:
        """When such a response is given fillers; only Voice Live has any."""
        return fillers_of(self.shown | response)

    @property
    def truncation(self) -> HistoryTruncation:
        return truncation_of(self.shown.get("truncation"))

    def _take(self, shown: Json) -> None:
        self.shown, self.input = shown, self.form.input(shown)

    def _output(self, shown: Json, response: Json) -> OutputSettings:
        assert self.form.output is not None
        return self.form.output(shown, response)


def _check_type(form: SessionForm, wanted: Json, place: EventPlace) -> None:
    """Raises RejectedError where a session of GA is told to be of another kind, or of none."""
    if form.type is None:
        return
    if wanted.get("type") is None:
        raise missing(place.key("type"))
    if wanted["type"] in GA_TYPES and wanted["type"] != form.type:
        problem = f"Passing a {wanted['type']} session update event to a {form.type} session is not allowed."
        raise RejectedError("invalid_parameter", problem)
