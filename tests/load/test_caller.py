"""The steps of a task in Python: when the task is rehearsed, and when it runs in a session."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.load.execution.call import StepRunner
from bench.load.planning.tasks import TaskRecorder, Turn, run_task
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.compiled_script import CompiledScript
from bench.plan.random_choices import SessionChoices
from bench.plan.script import build_script, load_script
from bench.plan.steps import MAX_RETAINED, StepReader, StepRules
from bench.services.openai.dialect import GA
from bench.session.session import Session
from bench.wire.settings import SessionSettings, TurnDetection
from tests.helpers import (
    MS,
    GuardedTransport,
    Listening,
    Service,
    closing,
    created,
    delta,
    done,
    message,
    png,
    spoken,
)
from tests.load.actors import Actor, tone

HERE = Path(__file__)
Step = dict[str, Any]


def rehearse(
    task: Callable[[Actor], object], folder: Path = HERE.parent, *, detects: bool = False
) -> TaskRecorder:
    """Return the record of the rehearsal of a task. `detects` is True if the service detects the
    turns.
    """
    rules = StepRules(SessionSettings(turn_detection=TurnDetection() if detects else None))
    rehearsal = TaskRecorder(StepReader(folder), rules)
    run_task(Actor(), task, rehearsal)
    return rehearsal


def task_of(steps: list[Step]) -> Callable[[Actor], None]:
    """Return a task whose steps are those of a script."""

    def task(actor: Actor) -> None:
        for step in steps:
            keys = dict(step)
            match keys.pop("name", ""), *keys.items():
                case name, ("text", text), *response:
                    actor.text(text, name=name, **dict(response))
                case name, ("audio", wavs), *response:
                    actor.audio(wavs, name=name, **dict(response))
                case name, ("request_response", response):
                    actor.request_response(name=name, **response)
                case _, ("pause", dict(drawn)):
                    actor.pause(**drawn)
                case _, ("pause", seconds):
                    actor.pause(seconds)
                case _, ("expect", expected):
                    actor.expect(expected["event"], expected["within"])
                case _, ("message", message):
                    actor.message(message["role"], message["text"], message.get("image"))
                case _, ("send", event):
                    actor.send(event)

    return task


class TaskRun:
    """A session over the memory transport, and the messages that the session has sent."""

    def __init__(
        self,
        repertoire: CompiledScript,
        number: int = 0,
        seed: int = 1,
        service: Service | None = None,
    ) -> None:
        self.repertoire, self.number, self.seed = repertoire, number, seed
        self.script = repertoire.prepare_session(number, seed)
        self.transport = GuardedTransport(service or Service())
        timeline = Timeline(
            SessionStart(self.transport.now_ns(), len(self.script.turns), self.script.limits),
            self.script.dialect,
        )
        self.timeline, self.listening = timeline, Listening()
        self.ending = False
        self.session = Session(
            self.script, self.transport, timeline, self.listening, lambda: self.ending
        )

    def play(self) -> list[tuple[int, bytes]]:
        """Run the session from the steps of its script. Return the messages that the session
        sent.
        """
        self.session.open()
        for step in self.script.steps:
            if not self.session.run_step(step):
                break
        self.session.close()
        return self.transport.sent

    def perform(self, task: Callable[[Actor], object], folder: Path) -> list[tuple[int, bytes]]:
        """Run the session from the steps of a task in Python. Return the messages that the
        session sent.
        """
        choices = SessionChoices(self.seed, self.number)
        stage = StepRunner(self.session, self.repertoire, self.script, StepReader(folder), choices)
        self.listening.on_turn = stage.turn_ended
        self.session.open()
        run_task(Actor(), task, stage)
        self.session.close()
        return self.transport.sent


def text_repertoire(*texts: str) -> CompiledScript:
    steps = rehearse(task_of([{"text": text} for text in texts])).steps
    return CompiledScript(build_script(HERE, {}, steps), GA)


def test_a_sound_belongs_to_a_reply_or_to_silence(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")

    def task(actor: Actor) -> None:
        actor.sound("a.wav", kind="talking_to_others", during="silence")
        actor.text("Hello")
        actor.sound("a.wav", kind="noise", after=1)
        actor.sound("a.wav", kind="talking_to_others", during="silence")
        actor.text("Bye")

    def interrupts_silence(actor: Actor) -> None:
        actor.text("Hello")
        actor.sound("a.wav", kind="talking_to_others", during="silence")
        actor.interrupt()

    steps = rehearse(task, tmp_path, detects=True).steps
    assert [step.within_turn for step in steps] == [False, False, True, False, False]
    with pytest.raises(UsageError, match="sound needs `turn_detection`"):
        rehearse(task, tmp_path)
    with pytest.raises(UsageError, match="interrupt must come after a turn"):
        rehearse(interrupts_silence, tmp_path, detects=True)


def test_the_step_cache_has_a_maximum_size(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    reader = StepReader(tmp_path)
    asked = [f"order {number}" for number in range(2 * MAX_RETAINED)]
    steps = [
        weakref.ref(reader.read("audio", audio="a.wav", expected_reply=text)) for text in asked
    ]
    gc.collect()

    assert len([step for step in steps if step() is not None]) == MAX_RETAINED


def test_a_repeated_step_stays_in_the_cache(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    reader = StepReader(tmp_path)
    greeting = reader.read("audio", audio="a.wav")
    for number in range(2 * MAX_RETAINED):
        reader.read("audio", audio="a.wav", expected_reply=f"order {number}")
        assert reader.read("audio", audio="a.wav") is greeting


def follows(step: Step) -> bool:
    """Return whether a step ends the turn before it. After this step, an `expect` can no longer
    belong to that turn.
    """
    return not {"expect", "send"} & step.keys()


ROWS = "name\nAda\nBob\nCy\n"
RESPONSES: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {},
    optional={
        "output": st.sampled_from(["audio", "text"]),
        "instructions": st.just("Be kind to ${name}."),
    },
)
ASIDES: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.just("none"),
        "input": st.sampled_from([[], [{"role": "user", "text": "I am ${name}"}]]),
    },
)
LABELS: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["a", "b.c"])}
)
OF_SPOKEN: st.SearchStrategy[Step] = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["d", "e.f"])}
)
TURNS = st.one_of(
    st.tuples(
        st.sampled_from([{"text": "I am ${name}"}, {"text": "Look!", "image": "a.png"}]),
        LABELS,
        RESPONSES,
    ),
    st.tuples(
        st.sampled_from(["a.wav", "b.wav", ["a.wav", "b.wav"]]).map(lambda wavs: {"audio": wavs}),
        OF_SPOKEN,
        st.fixed_dictionaries(
            {}, optional={"chunk_ms": st.integers(20, 200), "paced": st.booleans()}
        ),
    ),
    st.tuples(
        st.builds(
            lambda response, extra: {"request_response": response | extra}, RESPONSES, ASIDES
        ),
        LABELS,
    ),
).map(lambda parts: {key: value for part in parts for key, value in part.items()})
PAUSES: list[Step] = [
    {"pause": 0.3},
    {"pause": {"median": 2, "sigma": 0.5}},
    {"pause": {"file": "think_times.txt"}},
]
OTHERS: list[Step] = [
    {"message": {"role": "system", "text": "Be kind to ${name}."}},
    {"message": {"role": "user", "text": "What is this?", "image": "a.png"}},
    {"send": {"type": "input_audio_buffer.clear"}},
    {"expect": {"event": "response_created", "within": 5}},
]
AFTER = st.lists(st.sampled_from([*OTHERS, *PAUSES]), max_size=3).map(
    lambda steps: sorted(steps, key=follows)
)
STEPS = st.lists(
    st.tuples(TURNS, AFTER).map(lambda pair: [pair[0], *pair[1]]), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the steps name."""
    made = tmp_path_factory.mktemp("steps")
    tone(made / "a.wav")
    tone(made / "b.wav", 0.2, 880.0)
    (made / "rows.csv").write_text(ROWS)
    (made / "a.png").write_bytes(png(2, 2))
    (made / "think_times.txt").write_text("0.5\n1\n4\n")
    return made


@settings(max_examples=30)
@given(groups=STEPS, number=st.integers(0, 50), seed=st.integers(0, 5))
def test_a_task_sends_what_a_script_of_the_same_steps_sends(
    folder: Path, groups: list[list[Step]], number: int, seed: int
) -> None:
    steps = [step for group in groups for step in group]
    known = {"session": {"instructions": "You talk to ${name}."}, "variables": "rows.csv"}
    path = folder / "talk.yaml"
    path.write_bytes(msgspec.json.encode(known | {"steps": steps}))
    scripted = CompiledScript(load_script(path), GA)
    built = build_script(path, known, rehearse(task_of(steps), folder).steps)
    improvised = CompiledScript(built, GA)

    by_script = TaskRun(scripted, number, seed).play()
    by_task = TaskRun(improvised, number, seed).perform(task_of(steps), folder)

    assert by_task == by_script


def trace_of(task: Callable[[Actor], object], run: TaskRun) -> list[str]:
    """Perform a task in a session. Return the ways in which the task ended.

    - `done`: the task returned
    - `caught`: an Exception passed through it
    - `left`: its finally block ran
    """
    seen: list[str] = []

    def watched(actor: Actor) -> None:
        try:
            task(actor)
            seen.append("done")
        except Exception:
            seen.append("caught")
            raise
        finally:
            seen.append("left")

    run.perform(watched, HERE.parent)
    return seen


def test_a_closed_session_ends_the_task_and_runs_its_finally_block() -> None:
    run = TaskRun(
        text_repertoire("One", "Two"), service=Service(turns=[lambda _: [closing(50 * MS, 1011)]])
    )

    assert trace_of(task_of([{"text": "One"}, {"text": "Two"}]), run) == ["left"]
    assert [turn.outcome for turn in run.listening.turns] == ["closed:1011"]


def test_an_unmet_expectation_fails_its_turn_and_the_task_continues() -> None:
    run = TaskRun(text_repertoire("One", "Two"))
    seen = trace_of(
        task_of(
            [{"text": "One"}, {"expect": {"event": "audio_done", "within": 0.001}}, {"text": "Two"}]
        ),
        run,
    )

    assert seen == ["done", "left"]
    assert [turn.outcome for turn in run.listening.turns] == ["failed:missing_audio_done", "ok"]


def test_a_locust_exception_is_returned() -> None:
    word = type("StopUser", (Exception,), {"__module__": "locust.exception"})()

    def task(actor: Actor) -> None:
        raise word

    assert (
        run_task(Actor(), task, TaskRecorder(StepReader(HERE.parent), StepRules(SessionSettings())))
        is word
    )


# The results of turns that a task receives.


def saying(words: str) -> Service:
    """Return a service whose first reply has the transcript `words`."""
    transcript_done = message(
        "response.output_audio_transcript.done", response_id="r1", transcript=words
    )
    answer = [created("r1"), delta(GA, "audio", "r1"), transcript_done, done("r1")]
    return Service(turns=[lambda _: spoken(answer)])


@pytest.mark.parametrize("kind", ["text", "request_response", "audio"])
@pytest.mark.parametrize(
    ("words", "done"), [("We are open on Sunday.", True), ("We are closed.", False)]
)
def test_the_success_function_of_a_turn_receives_its_result(
    kind: str, words: str, done: bool, tmp_path: Path
) -> None:
    tone(tmp_path / "a.wav")

    def is_open(turn: Turn) -> bool:
        return "open" in turn.reply_text and turn.outcome == "ok" and "ttfa" in turn.metrics

    def task(actor: Actor) -> None:
        if kind == "text":
            actor.text("Are you open on Sunday?", success=is_open)
        elif kind == "request_response":
            actor.request_response(success=is_open, expected_reply="Yes.")
        else:
            actor.audio("a.wav", success=is_open, transcript="Are you open?")

    run = TaskRun(text_repertoire("Hello"), service=saying(words))
    run.perform(task, tmp_path)

    assert [turn.quality.task_success for turn in run.listening.turns] == [done]


def test_the_metrics_of_a_turn_are_in_ms_and_stay_available() -> None:
    read_metrics: list[dict[str, float]] = []

    def task(actor: Actor) -> None:
        turns = [actor.text(text) for text in ("One", "Two")]
        read_metrics.extend(dict(turn.metrics) for turn in turns)
        assert [turn.number for turn in turns] == [1, 2]

    run = TaskRun(text_repertoire("Hello"))
    run.perform(task, HERE.parent)

    metrics = [
        {name: ns / MS for name, ns in turn.metrics_ns().items()} for turn in run.listening.turns
    ]
    assert read_metrics == metrics
    assert read_metrics[0]["ttfa"] > 0


def test_a_turn_with_a_closed_connection_has_an_outcome() -> None:
    outcomes: list[str] = []

    def task(actor: Actor) -> None:
        outcomes.append(actor.text("One").outcome)
        actor.text("Two")
        outcomes.append("went on")

    run = TaskRun(
        text_repertoire("One"), service=Service(turns=[lambda _: [closing(50 * MS, 1011)]])
    )
    run.perform(task, HERE.parent)

    assert outcomes == ["closed:1011"]


def test_reading_a_missing_transcript_at_the_end_of_the_run_ends_the_task(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    steps = rehearse(task_of([{"audio": "a.wav"}]), tmp_path).steps
    script = build_script(HERE, {"session": {"input_transcription": "whisper-1"}}, steps)
    run = TaskRun(CompiledScript(script, GA))

    def task(actor: Actor) -> None:
        turn = actor.audio("a.wav")
        run.ending = True
        assert turn.input_text is None, "the task should have been left"

    run.perform(task, tmp_path)

    assert [turn.outcome for turn in run.listening.turns] == ["ok"]


def test_in_a_rehearsal_each_turn_is_ok_and_has_empty_texts() -> None:
    def task(actor: Actor) -> None:
        for turn in (actor.text("One"), actor.request_response()):
            assert (turn.outcome, turn.input_text, turn.reply_text, dict(turn.metrics)) == (
                "ok",
                "",
                "",
                {},
            )

    assert len(rehearse(task).steps) == 2


def test_an_endless_task_may_end_its_rehearsal_with_a_sound(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")

    def task(actor: Actor) -> None:
        while True:
            actor.text("Hello")
            actor.sound("a.wav", kind="talking_to_others", during="silence")

    rehearsal = rehearse(task, tmp_path, detects=True)
    assert not rehearsal.steps[-1].within_turn
    assert build_script(
        HERE,
        {"session": {"turn_detection": "server_vad"}},
        rehearsal.steps,
        is_complete=rehearsal.is_complete,
    )


UNSEEN: dict[str, tuple[Callable[[Actor], object], str]] = {
    "audio at once with turn detection": (
        lambda actor: actor.audio("a.wav", name="late", paced=False),
        "paced must be true with turn detection",
    ),
    "an event after the end of its turn": (
        lambda actor: (
            actor.message("system", "Be brief.", None),
            actor.expect("response_created", 1),
        ),
        (
            "expect must come after a turn: put it after a `text`, `audio`, `request_response` or"
            " `wait_for`"
        ),
    ),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_step_that_the_rehearsal_missed_is_validated_like_a_script(
    tmp_path: Path, kind: str
) -> None:
    tone(tmp_path / "a.wav")
    unseen, problem = UNSEEN[kind]
    steps = rehearse(task_of([{"text": "Hello"}])).steps
    run = TaskRun(
        CompiledScript(build_script(HERE, {"session": {"turn_detection": "server_vad"}}, steps), GA)
    )

    def task(actor: Actor) -> None:
        actor.text("Hello")
        unseen(actor)

    with pytest.raises(UsageError, match=re.escape(problem)):
        run.perform(task, tmp_path)
