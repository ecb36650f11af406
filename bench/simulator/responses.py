"""Runs the responses of one session: at most one of the conversation at a time, others out of band beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from bench.simulator.agenda import Series
from bench.simulator.answer import Response
from bench.simulator.composer import Composer
from bench.simulator.fillers import AFTER_CALL_NS
from bench.simulator.outbox import Outbox, OutboxStep, Render
from bench.simulator.profile import Profile
from bench.simulator.quota import Quota
from bench.simulator.wire import Json, Outgoing, RejectedError

RATE_LIMITS = {"requests": 1_000, "tokens": 1_000_000}  # a minute; what is shown where nothing is limited


class Responses:
    """Starts, cancels and interrupts. `when_done` is told of each response of the conversation that is done."""

    when_done: Callable[[Response, int], None] | None = None

    def __init__(self, composer: Composer, outbox: Outbox, profile: Profile, quota: Quota) -> None:
        self._composer, self._outbox, self._profile = composer, outbox, profile
        self._quota = quota  # of the whole server
        self._active: Response | None = None  # of the conversation
        self._answers: dict[str, tuple[Response, Series[Render]]] = {}
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
        answer = self._composer.compose(wanted, at_ns, in_band)
        self._active = answer if in_band else self._active
        self._start(answer)
        return answer

    def cancel(self, response_id: Any, at_ns: int) -> str:
        """Cancel what a client names, or the active response. Returns its id; raises RejectedError."""
        wanted = response_id or (self._active and self._active.id)
        if not self._cancel(str(wanted), at_ns, "client_cancelled"):
            raise RejectedError("response_cancel_not_active", "Cancellation failed: no active response found")
        return str(wanted)

    def interrupt(self, at_ns: int) -> None:
        """Cancel the active response because the caller speaks, unless it is being cancelled already."""
        if self._active is not None:
            self._cancel(self._active.id, at_ns, "turn_detected")
            self._active = None  # the next response comes behind its end, so it need not wait to be asked for

    def _cancel(self, response_id: str, at_ns: int, reason: str) -> bool:
        return self.end(response_id, at_ns, "cancelled", {"type": "cancelled", "reason": reason})

    def end(self, response_id: str, at_ns: int, status: str, details: Json) -> bool:
        """End a response ahead of time; False where it is over, or is ending."""
        answer, series = self._answers.get(response_id, (None, None))
        if answer is None or series is None or answer.done or series.dropped:
            return False
        series.drop()
        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.cancelled)
        self._outbox.plan(chain(answer.ended(due_ns, status, details), self._after_done(answer, due_ns)))
        return True

    def _start(self, answer: Response) -> None:
        self._answers = {key: entry for key, entry in self._answers.items() if not entry[0].done}
        steps = chain(answer.steps(), self._after_done(answer, answer.plan.done_ns))
        self._answers[answer.id] = answer, self._outbox.plan(steps)
        self._spent["requests"] += 1
        self._spent["tokens"] += answer.context.tokens.sum
        if self._profile.rate_limits in ("after_created", "both"):
            self._outbox.plan([self._limits_step(answer.plan.created_ns)])

    def _after_done(self, answer: Response, done_ns: int) -> list[OutboxStep]:
        noticed: list[OutboxStep] = [(done_ns, partial(self._spend, answer))]
        if answer.in_band:
            noticed.append((done_ns, partial(self._notice_done, answer)))
        limits = [self._limits_step(done_ns)] if self._profile.rate_limits in ("after_done", "both") else []
        return noticed + limits

    def _spend(self, answer: Response, done_ns: int) -> None:
        self._quota.spend(sum(answer.output_tokens()), done_ns)

    def _notice_done(self, answer: Response, done_ns: int) -> None:
        if self.when_done is not None:
            self.when_done(answer, done_ns)
        if self._composer.fills_calls(answer):
            self._outbox.plan([(done_ns + AFTER_CALL_NS, partial(self._fill, answer))])

    def _fill(self, answer: Response, at_ns: int) -> None:
        """Say something while what a response has called runs, unless another one was asked for or it was cancelled."""
        if self._active is answer and answer.status == "completed":
            self._active = self._composer.filler(at_ns)
            self._start(self._active)

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
