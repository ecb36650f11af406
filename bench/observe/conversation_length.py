"""Watches how long a conversation is, as the service counts it, and tells when the service has shortened it. Pure.

The input of a response is all of the conversation that the service has kept, and the conversation grows. So where a
response has fewer tokens of input than the one before it, and the client took nothing out, the service did: it
truncates what no longer fits into its model's context (`truncation`, Realtime API reference).
"""

from __future__ import annotations

from bench.protocol.events import Usage


class ConversationLength:
    """The conversation of one session, by the input of its responses."""

    def __init__(self) -> None:
        self._tokens: int | None = None  # of the response before; None where the next one's may be less all the same

    def client_changed(self) -> None:
        """Note that the client deleted something, or gave the session other settings: nobody knows how many tokens."""
        self._tokens = None

    def answered(self, usage: Usage, *, instructed: bool) -> bool:
        """Take the tokens of a response; whether the service shortened the conversation since the one before.

        `instructed`: the response had instructions of its own in the place of the session's.
        """
        if not usage.input:  # nothing was read, or nothing that can be told: it was cancelled before
            return False
        before, self._tokens = self._tokens, None if instructed else usage.input
        return before is not None and not instructed and usage.input < before
