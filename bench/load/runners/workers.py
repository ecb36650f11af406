"""What a process that leads runs asks of its workers. A process that has none runs the sessions itself."""

from __future__ import annotations

from pathlib import Path

from bench.load.execution.pairs import WorkerSlot


class Workers:
    """The workers of a process that leads runs: none. Such a process runs the sessions itself."""

    @property
    def count(self) -> int:
        """The number of processes that run the sessions of the next run."""
        return 1

    @property
    def stop_reason(self) -> str:
        """The reason why the workers cannot continue the run; "" if they can."""
        return ""

    def open(self) -> None:
        """Wait for the workers before the first run. Raise UsageError if they are late."""

    def dismiss(self) -> None:
        """End the workers, because there will be no run."""

    def begin(self) -> None:
        """Forget the last run."""

    def advice(self) -> tuple[str, ...]:
        """Return the notices about the hosts of the workers."""
        return ()

    def hand_over(self, folder: Path, slot: WorkerSlot) -> bool:
        """Let the workers run the sessions. Return False if there are none."""
        return False

    def poll(self) -> None:
        """End the run if no worker has sessions left to run. This is called once a second."""

    def drain(self) -> None:
        """Let the workers end their sessions, and wait for their data."""

    def silent(self, folder: Path) -> int:
        """Return the number of workers that may have started, but sent no data."""
        return 0

    def notice(self) -> str:
        """Return a notice about the messages in the run; "" if there is none."""
        return ""
