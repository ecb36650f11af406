"""The replay of conversations with every type of step. Every field of the observations is equal.

Other conversations are cut at an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.catalogue.outcomes import SUCCESSFUL
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.record.replay import replay_log
from bench.services.openai.dialect import GA
from bench.session.session import Session
from bench.wire.connection import MatchedDelta
from rtbench_simulator.profile import quiet_profile
from tests.compiled import needs_compiler
from tests.helpers import Listening, S, say, seated
from tests.memory_transport import Matching, VirtualClock
from tests.talking import (
    START_NS,
    Conversation,
    PatientTransport,
    Simulator,
    Talked,
    build_script,
    conversations,
    talked,
)

NEVER_NS = 1 << 62


class MatchingTransport(Matching, PatientTransport):
    """A PatientTransport that matches deltas as the real transport does, and delivers several of
    them at once.
    """


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(conversation=conversations(), record_audio=st.booleans(), matches=st.booleans())
def test_a_replayed_conversation_has_the_same_observations(
    folder: Path, conversation: Conversation, record_audio: bool, matches: bool
) -> None:
    """The replay decodes each delta. Its observations equal those of a session that has matched
    its deltas.
    """
    logged(folder, conversation, record_audio, MatchingTransport if matches else PatientTransport)


@needs_compiler
def test_matched_deltas_of_a_conversation_are_processed_in_batches() -> None:
    simulator, clock = Simulator(GA, quiet_profile(), 2), VirtualClock(START_NS)
    transport, script, counting = (
        MatchingTransport(simulator, clock),
        build_script(say(), say()),
        BatchCountingTimeline(),
    )
    seated(script, transport, counting)[0].run()

    assert [turn.outcome for turn in counting.turns] == ["ok", "ok"]
    assert transport.matched == sum(counting.handed) > 0
    assert max(counting.handed) > 1


class BatchCountingTimeline(Listening):
    """A listener that records how many deltas it receives at once."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[int] = []

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        self.handed.append(len(deltas))
        super().received_deltas(deltas)


def logged(
    folder: Path, conversation: Conversation, record_audio: bool, kind: type[PatientTransport]
) -> None:
    """Run a conversation and write its log. Check that a replay of the log has the same
    observations.
    """
    script, listening = conversation.script, Listening(spent_after=conversation.responses)
    log = EventLog(folder / "talk.jsonl", hide=str, record_audio=record_audio)
    timeline = LoggedTimeline(
        SessionStart(
            START_NS, len(script.turns), script.limits, service_responds=script.service_responds
        ),
        script.dialect,
        log=log,
        about=about("run", RowContext("w0-000001", "here", "talk", "talk"), script),
    )
    clock = VirtualClock(START_NS)
    transport = kind(conversation.service, clock)
    Session(
        script,
        LoggedTransport(transport, log),
        timeline,
        listening,
        lambda: clock.now_ns > START_NS + conversation.ends_ns,
    ).run()
    log.close()

    again = replay_log(folder / "talk.jsonl")
    assert list(again.turns) == listening.turns
    assert again.session == timeline.session()
    assert not again.cut


Told = Callable[[Timeline], object]


class RecordingTimeline(Timeline):
    """A timeline that stores each of its inputs with the instant of this input."""

    def __init__(self, script: PreparedScript) -> None:
        responds = script.service_responds
        super().__init__(
            SessionStart(START_NS, len(script.turns), script.limits, service_responds=responds),
            script.dialect,
        )
        self.told: list[tuple[int, Told]] = [(START_NS, lambda timeline: None)]

    def apply(self, *batch: inputs.AnyInput) -> None:
        last = batch[-1]
        arrived = last.message.arrival if isinstance(last, inputs.Received) else last
        at_ns = getattr(arrived, "at_ns", 0)
        self.told.append((max(at_ns, self.told[-1][0]), lambda timeline: timeline.apply(*batch)))
        super().apply(*batch)


ENDS: st.SearchStrategy[Callable[[int], inputs.AnyInput]] = st.sampled_from(
    [
        lambda now_ns: inputs.ConnectionClosed(1006, now_ns, ""),
        lambda now_ns: inputs.ConnectionClosed(1000, now_ns, "session expired"),
        lambda now_ns: inputs.ConnectionClosed(1002, now_ns, "", ours=True),
        lambda now_ns: inputs.SessionFailed("unfinished", now_ns, "the run ended"),
        lambda now_ns: inputs.DeadlinePassed(now_ns),
    ]
)


CUTS = st.tuples(
    st.integers(0, 1_000), st.sampled_from([0, 0, 1, 300_000_000, 2 * S, 1_000 * S]), ENDS
)
"""Where a conversation is cut, in thousandths of its inputs, how much later it ends, and its
end."""


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(conversation=conversations(), cuts=st.lists(CUTS, min_size=8, max_size=8))
def test_a_conversation_cut_at_any_event_has_one_outcome_per_turn(
    conversation: Conversation, cuts: list[tuple[int, int, Callable[[int], inputs.AnyInput]]]
) -> None:
    recording = RecordingTimeline(conversation.script)
    talk = talked(
        conversation.script, conversation.service, timeline=recording, ends_ns=conversation.ends_ns
    )
    for place, after_ns, end in cuts:
        kept = 1 + place * (len(recording.told) - 1) // 1_000
        check_cut(talk, recording.told[:kept], after_ns, end)


def check_cut(
    talk: Talked, told: list[tuple[int, Told]], after_ns: int, end: Callable[[int], inputs.AnyInput]
) -> None:
    """Check the observations of a conversation that is cut after the inputs `told`, and ends
    `after_ns` later.
    """
    again, turns = RecordingTimeline(talk.script), []
    for _, tell in told:
        tell(again)
        turns += again.pop_delivered()
    end_ns = told[-1][0] + after_ns
    again.apply(end(end_ns))
    for kind in (
        inputs.ConnectionClosed(1006, end_ns),
        inputs.ScriptFinished(end_ns),
    ):  # later inputs change nothing
        over = again.is_over
        ended = again.session().outcome
        again.apply(kind)
        assert not over or again.session().outcome == ended
    turns += again.pop_turns(end_ns)

    session, whole = again.session(), {turn.turn: turn for turn in talk.turns}
    assert session.outcome
    assert sorted(turn.turn for turn in turns) == list(range(1, session.turns_started + 1))
    assert session.turns_started == session.turns_ended
    assert session.turns_succeeded == sum(turn.outcome in SUCCESSFUL for turn in turns)
    assert again.pop_turns(NEVER_NS) == []
    for turn in turns:
        assert turn.outcome
        assert turn.instants["ended"] <= end_ns
        if turn.instants["ended"] < told[-1][0]:  # it ended before the cut
            assert (turn.outcome, turn.instants["ended"]) == (
                whole[turn.turn].outcome,
                whole[turn.turn].instants["ended"],
            )
