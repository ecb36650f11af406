"""Runs the responses of one session: at most one of the conversation at a time, others out of band beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from bench.simulator.agenda import Series
from bench.simulator.answer import Context, Response
from bench.simulator.cap import capped
from bench.simulator.conversation import Conversation, text_tokens
from bench.simulator.outbox import Outbox, OutboxStep, Render
from bench.simulator.profile import Profile
from bench.simulator.quota import Quota
from bench.simulator.schedule import Schedule, audio_schedule, failed_schedule, text_schedule
from bench.simulator.servers import Servers
from bench.simulator.session import EffectiveSession, OutputSettings
from bench.simulator.voice import RecordedReply
from bench.simulator.wire import Ids, Json, Outgoing, RejectedError, WireNames

CACHE_BLOCK_TOKENS = 64
RATE_LIMITS = {"requests": 1_000, "tokens": 1_000_000}  # a minute; what is shown where nothing is limited


class Responses:
    """Starts, cancels and interrupts. `when_done` is told of each response of the conversation that is done."""

    when_done: Callable[[Response, int], None] | None = None

    def __init__(
        self,
        session: EffectiveSession,
        conversation: Conversation,
        outbox: Outbox,
        profile: Profile,
        replies: Sequence[RecordedReply],
        names: WireNames,
        ids: Ids,
        rng: np.random.Generator,
        quota: Quota,
        servers: Servers,
    ) -> None:
        self._session, self._conversation, self._outbox = session, conversation, outbox
        self._profile, self._replies, self._names, self._ids, self._rng = profile, replies, names, ids, rng
        self._quota, self._servers = quota, servers  # of the whole server
        self._conversation_id = ids.new("conv")
        self._active: Response | None = None  # of the conversation
        self._answers: dict[str, tuple[Response, Series[Render]]] = {}
        self._context = (0, 0)  # tokens of the last response's input, which the next one finds cached
        self._spent = {"requests": 0, "tokens": 0}

    @property
    def active(self) -> Response | None:
        """The conversation's response that is not done yet."""
        return None if self._active is None or self._active.done else self._active

    def create(self, wanted: Json, at_ns: int) -> Response:
        """Start the response that was asked for `at_ns`. Raises RejectedError while another one is active."""
        in_band = wanted.get("conversation") != "none"
        if in_band and self.active is not None:
            problem = (
                f"Conversation already has an active response in progress: {self.active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise RejectedError("conversation_already_has_active_response", problem)
        answer = self._new_answer(wanted, at_ns, in_band)
        self._active = answer if in_band else self._active
        self._start(answer)
        return answer

    def cancel(self, response_id: Any, at_ns: int) -> str:
        """Cancel what a client names, or the active response. Returns its id; raises RejectedError."""
        wanted = response_id or (self._active and self._active.id)
        if not self._cut(str(wanted), at_ns, "client_cancelled"):
            raise RejectedError("response_cancel_not_active", "Cancellation failed: no active response found")
        return str(wanted)

    def interrupt(self, at_ns: int) -> None:
        """Cancel the active response because the caller speaks, unless it is being cancelled already."""
        if self._active is not None:
            self._cut(self._active.id, at_ns, "turn_detected")
            self._active = None  # the next response comes behind its end, so it need not wait to be asked for

    def _cut(self, response_id: str, at_ns: int, reason: str) -> bool:
        answer, series = self._answers.get(response_id, (None, None))
        if answer is None or series is None or answer.done or series.dropped:
            return False
        series.drop()
        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.cancelled)
        self._outbox.plan(chain(answer.cancelled(due_ns, reason), self._after_done(answer, due_ns)))
        return True

    def _new_answer(self, wanted: Json, at_ns: int, in_band: bool) -> Response:
        output = self._session.output(wanted)
        text, audio = self._input(output.instructions, wanted.get("input"))
        failure = self._quota.respond(text + audio, self._session.model, at_ns)
        reply = self._replies[int(self._rng.integers(len(self._replies)))]
        begin_ns = at_ns if failure is not None else self._servers.begin_ns(at_ns)
        schedule = self._schedule(output, reply, begin_ns, failed=failure is not None)
        reply, schedule = capped(reply, schedule, output.format, float(output.max_output_tokens))
        if failure is None:
            self._servers.occupy(schedule.done_ns)
        return Response(
            id=self._ids.new("resp"),
            item_id=self._conversation.promise(),
            output=output,
            reply=reply,
            schedule=schedule,
            names=self._names,
            ids=self._ids,
            obfuscation=self._outbox.obfuscation,
            conversation=self._conversation if in_band else None,
            conversation_id=self._conversation_id if in_band else None,
            metadata=wanted.get("metadata"),
            context=self._read(text, audio) if failure is None else Context(0, 0, 0, 0),
            failure=failure,
        )

    def _schedule(self, output: OutputSettings, reply: RecordedReply, at_ns: int, *, failed: bool) -> Schedule:
        earliest_ns = self._outbox.answered_ns
        if failed:
            return failed_schedule(self._profile, at_ns, earliest_ns, self._rng)
        schedule = audio_schedule if output.audio else text_schedule
        return schedule(self._profile, reply, at_ns, earliest_ns, self._rng)

    def _start(self, answer: Response) -> None:
        self._answers = {key: entry for key, entry in self._answers.items() if not entry[0].done}
        steps = chain(answer.steps(), self._after_done(answer, answer.schedule.done_ns))
        self._answers[answer.id] = answer, self._outbox.plan(steps)
        self._spent["requests"] += 1
        if self._profile.rate_limits in ("after_created", "both"):
            self._outbox.plan([self._limits_step(answer.schedule.created_ns)])

    def _after_done(self, answer: Response, done_ns: int) -> list[OutboxStep]:
        noticed: list[OutboxStep] = [(done_ns, partial(self._spend, answer))]
        if answer.conversation is not None:
            noticed.append((done_ns, partial(self._notice_done, answer)))
        limits = [self._limits_step(done_ns)] if self._profile.rate_limits in ("after_done", "both") else []
        return noticed + limits

    def _spend(self, answer: Response, done_ns: int) -> None:
        self._quota.spend(sum(answer.output_tokens()), done_ns)

    def _notice_done(self, answer: Response, done_ns: int) -> None:
        if self.when_done is not None:
            self.when_done(answer, done_ns)

    def _input(self, instructions: str, items: list[Json] | None) -> tuple[int, int]:
        """(text, audio): the tokens of a response's own `input`, or of the conversation, and of its instructions."""
        if items is not None:
            read = [self._conversation.read(item, self._session.input.format) for item in items]
            text, audio = sum(item.text_tokens for item in read), sum(item.audio_tokens for item in read)
        else:
            text, audio = self._conversation.tokens()
        return text + text_tokens(instructions), audio

    def _read(self, text: int, audio: int) -> Context:
        """So many tokens are read now, in whole blocks from the cache where the last response has read them."""
        cached = (min(now, before) for now, before in zip((text, audio), self._context, strict=True))
        cached_text, cached_audio = (tokens - tokens % CACHE_BLOCK_TOKENS for tokens in cached)
        self._context = text, audio
        self._spent["tokens"] += text + audio
        return Context(text, audio, cached_text, cached_audio)

    def _limits_step(self, after_ns: int) -> OutboxStep:
        return self._outbox.after(after_ns, self._profile.delays.rate_limits), self._rate_limits

    def _rate_limits(self, due_ns: int) -> Outgoing:
        entries = self._quota.entries(due_ns) or [
            {
                "name": name,
                "limit": limit,
                "remaining": max(0, limit - self._spent[name]),
                "reset_seconds": round(60 * self._spent[name] / limit, 3),
            }
            for name, limit in RATE_LIMITS.items()
        ]
        return self._outbox.event("rate_limits.updated", {"rate_limits": entries}, due_ns)
