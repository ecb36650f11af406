"""Types what we use of Locust's environment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol


class Environment(Protocol):
    """Locust's `Environment`, of one process. `runner` is Locust's, too: local, a master's or a worker's.

    `shape_class`: its load shape, which is an object; None where --users and --run-time say what is played.
    """

    runner: Any
    events: Any
    parsed_options: Any
    user_classes: Collection[Any]
    shape_class: Any
    web_ui: Any
    stop_timeout: float | None
    process_exit_code: int | None
