"""A script that is encoded once for all sessions, and what differs between sessions. Pure.

A `CompiledScript` chooses a session's row of variables, the length of pauses, and one of a turn's
recordings.
"""

# A script is encoded at three times. The constructor encodes all speech, which takes most of the
# time and memory: once for each mark, if calls have marks. `prepare_session` composes a session of
# these messages, with its row of variables and its random choices. If nothing differs between
# sessions, all of them with one mark get the same object (`_only`). `step` prepares a single step
# during a session, for tasks in Python whose steps are not known before.
#
# A session that starts must not fail because of its script. So the constructor checks everything
# that a dialect may lack, and a script with variables is checked with its texts when it is loaded.

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.plan.prepared import CHUNK_MS, PreparedScript, PreparedStep, ScriptEncoder
from bench.plan.random_choices import GOLDEN_RATIO_STEP, SessionChoices
from bench.plan.script import Script
from bench.plan.steps import NO_ROW
from bench.plan.turns import Preparation, Step
from bench.sound.marks import COUNT
from bench.wire.dialect import MESSAGE_ID, SET_UP_ID, AwaitedEvent, Dialect, Feature
from bench.wire.settings import SessionSettings

OUTSIDE = ("history", "mcp_servers")
"""The settings of a session that are no keys of `session` in a script."""


class CompiledScript:
    """A script for any number of sessions, encoded for one dialect.

    Its turns' speech is encoded once. The constructor raises ScriptError for what the dialect
    cannot express. `chunk_ms` is the duration of a chunk if the script does not set it.
    """

    def __init__(self, script: Script, dialect: Dialect, chunk_ms: int = CHUNK_MS) -> None:
        self._settings, history_messages = dialect.with_history(
            script.session, script.history.messages if script.history else ()
        )
        _reject_unsupported(script, self._settings, dialect)
        self.script = script
        self.dialect = dialect
        self._encoders = [
            ScriptEncoder(
                dialect,
                script.session,
                script.background_noise,
                mark,
                jitter_buffer_ns=round(script.jitter_buffer_ms * NS_PER_MS),
                answer_min_ns=round(script.answer_min_ms * NS_PER_MS),
                fills=script.variables is not None,
                chunk_ms=chunk_ms,
            )
            for mark in (range(1, COUNT + 1) if script.caller_marks else (None,))
        ]
        self._history = tuple(dialect.message(message, MESSAGE_ID) for message in history_messages)
        self._numbered = tuple(_numbered(script))
        for encoder in self._encoders:
            for number, step in self._numbered:
                step.encode_ahead(encoder, number)
            for pcm in script.callee.recordings if script.callee else ():
                encoder.mailbox(pcm)
        varies = script.variables is not None or any(turn.varies for turn in script.turns)
        self._only = (
            []
            if varies
            else [
                self._session(place, SessionChoices(0, place))
                for place in range(len(self._encoders))
            ]
        )
        """The sessions, by their marks, if nothing else differs between them."""

    def _encoder(self, choices: SessionChoices) -> ScriptEncoder:
        """Return the encoder of a session, which has the mark of its call."""
        return self._encoders[choices.number % len(self._encoders)]

    def prepare_session(self, number: int, seed: int) -> PreparedScript:
        """Return the prepared script of session `number`. Sessions are numbered from 0, over all
        processes.
        """
        choices = SessionChoices(seed, number)
        shared = self._only[number % len(self._only)] if self._only else None
        prepared = shared or self._session(number, choices)
        if self._only and any(step.draws for step in self.script.steps):
            pairs = zip(self._numbered, prepared.steps, strict=True)
            steps = (
                self.step(step, turn_number, choices) if step.draws else prepared_step
                for (turn_number, step), prepared_step in pairs
            )
            prepared = replace(prepared, steps=tuple(steps))
        if self.script.patience:
            patience_s = choices.patience_s(self.script.patience)
            prepared = replace(prepared, limits=replace(prepared.limits, patience=patience_s))
        # the delays of function calls are drawn while the session runs
        prepared = replace(prepared, choices=choices) if prepared.functions else prepared
        chunk_ns = prepared.silence_chunks[0].duration_ns if prepared.silence_chunks else None
        return (
            # Multiples of the golden ratio spread the microphones of any number of sessions evenly
            # over a chunk. Otherwise sessions that start together would send at the same instants,
            # and delay each other.
            replace(prepared, phase_ns=int(number * GOLDEN_RATIO_STEP % 1 * chunk_ns))
            if chunk_ns
            else prepared
        )

    def drawn_session(self, number: int, seed: int) -> PreparedScript:
        """Return the prepared script of a session that is played: in a call that the agent makes,
        that of the callee that it draws.
        """
        prepared = self.prepare_session(number, seed)
        if (callee := self.script.callee) is None:
            return prepared
        choices = SessionChoices(seed, number)
        preparation = Preparation(self._encoder(choices), 1, choices, NO_ROW)
        return callee.drawn(prepared, self.script.turns[0], preparation)

    def step(
        self, step: Step, number: int, choices: SessionChoices, row: Mapping[str, str] = NO_ROW
    ) -> PreparedStep:
        """Return a step as a session plays it. Raise UsageError for an event that the dialect
        cannot send.

        `number` is the number of the turn, from 1; for another step, that of the last turn before
        it.
        """
        if problem := step.unsupported_reason(self.dialect, self.script.session):
            raise UsageError(f"{step.verb} {problem}")
        return step.prepared(Preparation(self._encoder(choices), number, choices, row))

    def _session(self, number: int, choices: SessionChoices) -> PreparedScript:
        script = self.script
        rows = script.variables.rows if script.variables else ()
        row = rows[number % len(rows)] if rows else NO_ROW
        encoder = self._encoder(choices)
        settings = encoder.with_instructions(self._settings, row)
        steps = tuple(
            self.step(step, turn_number, choices, row) for turn_number, step in self._numbered
        )
        set_up = self.dialect.setup_messages(settings, SET_UP_ID)
        if script.pipelined:
            set_up = [step for step in set_up if not isinstance(step, AwaitedEvent)]
        return PreparedScript(
            name=script.name,
            dialect=self.dialect,
            limits=script.timeouts,
            setup_messages=tuple(set_up),
            settings=settings,
            steps=steps,
            silence_chunks=next(
                (step.silence_chunks for step in steps if step.is_turn and step.silence_chunks),
                encoder.silence(),
            ),
            jitter_buffer_ns=encoder.jitter_buffer_ns,
            variables_row=number % len(rows) + 1 if rows else None,
            functions={function.tool.name: function for function in script.tools},
            choices=choices,
            history=self._history,
            pipelined=script.pipelined,
            history_items=script.history.messages if script.history else (),
            renew_after_ns=(
                None if script.renew_after is None else round(script.renew_after * NS_PER_S)
            ),
            reconnect=script.reconnect,
            reply_silence_ns=round(script.reply_silence_ms * NS_PER_MS),
        )


def _reject_unsupported(script: Script, settings: SessionSettings, dialect: Dialect) -> None:
    """Raise ScriptError for what the dialect does not support. `settings` have the history if it
    is one of them.
    """
    refused = dialect.unsupported_setting(settings)
    if refused is not None:
        keys = refused.setting if refused.setting[0] in OUTSIDE else ("session", *refused.setting)
        raise _at(script, keys, refused.reason)
    history_messages = script.history.messages if script.history else ()
    requirements = [
        ("history", "history", Feature.IMAGE, any(message.image for message in history_messages)),
        ("history", "the script", Feature.HISTORY, script.history),
        ("pipelined", "the script", Feature.PIPELINED, script.pipelined),
        ("mcp_servers", "the script", Feature.MCP, script.session.mcp_servers),
        ("renew_after", "the script", Feature.RENEWAL, script.renew_after),
        ("tools", "the script", Feature.FUNCTIONS, script.tools),
    ]
    for number, step in enumerate(script.steps, 1):
        requirements += (("steps", f"step {number}", feature, True) for feature in step.features())
    missing = dialect.missing_features_of(script.session)
    for key, name, feature, is_required in requirements:
        if is_required and feature in missing:
            raise _at(script, (key,), f"{name} {feature.value}, {missing[feature]}")
    for number, step in enumerate(script.steps, 1):
        if problem := step.unsupported_reason(dialect, script.session):
            raise _at(script, ("steps",), f"{step.verb} of step {number} {problem}")


def _at(script: Script, keys: tuple[str, ...], problem: str) -> UsageError:
    """Return an error with the position of the value under these nested keys of the script."""
    if script.written is None:
        return ScriptError(script.path, None, problem)
    return script.written.nearest(*keys).error(problem)


def _numbered(script: Script) -> Iterator[tuple[int, Step]]:
    """Yield (number, step) of each step. The number is that of the turn, or of the last turn
    before the step.
    """
    number = 0
    for step in script.steps:
        number += step.is_turn
        yield number, step
