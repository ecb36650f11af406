"""Types what we use of Locust's environment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol


class Environment(Protocol):
    """Locust's `Environment`, of one process. `runner` is Locust's, too: local, a master's or a worker's."""

    runner: Any
    events: Any
    parsed_options: Any
    user_classes: Collection[Any]
    web_ui: Any
    stop_timeout: float | None
    process_exit_code: int | None
