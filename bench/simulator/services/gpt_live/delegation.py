"""A task that the voice model of GPT-Live delegates, to its client or to the session's Responses backend."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.simulator.conversation.items import ConversationItem


@dataclass(eq=False)
class Delegation:
    """One delegated task.

    `is_unanswered` is True if nothing is said after its result. `is_answered` is True after its answer has started. The
    backend uses the other fields: `items` is the task, its function calls and their outputs. `is_calling` is True from
    a function call until the response that continues the task.
    """

    id: str
    is_unanswered: bool
    is_answered: bool = False
    items: list[ConversationItem] = field(default_factory=list)
    is_calling: bool = False
