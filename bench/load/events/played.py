"""The events of a run in progress: their instants, and the commands that they run.

A run with a peak, a deploy and a command is the same run: an event only records when it happened,
so that the report can compare the time before with the time after.
"""

# A command must not disturb the load. Its shell starts before the load, and waits for a line on its
# standard input, because starting a process from one with hundreds of calls takes milliseconds. If
# this process dies, the input closes, and a command that has not begun never does.
#
# A command is the user's: it may print without end, never end, or leave processes behind. Only the
# end of its output is kept. A command that still runs at the end of the run is ended, with all
# processes of its group; processes that an ended command left behind are not touched.

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gevent
from gevent.os import make_nonblocking, nb_read
from gevent.subprocess import PIPE, STDOUT, Popen, TimeoutExpired

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.sanitize import escape_control
from bench.load.events.planned import OPTION, EventPlan

WAITS = 'read -r go && exec 0</dev/null && eval "$1"'
MAX_OUTPUT = 4_000
"""The number of bytes at the end of a command's output that are kept."""
READ_SIZE = 65_536
READ_PAUSE_S = 0.01
"""The pause after each read, so that a command that prints without end does not delay calls."""
DRAIN_S = 0.2
"""The time for output that arrives after the end of a command."""
END_S = 1.0
"""The time between SIGTERM and SIGKILL at the end of a run."""


class EventCommand:
    """The command of an event, in a shell that waits for its start. Raise UsageError if no process
    can be started.
    """

    def __init__(self, command: str) -> None:
        try:
            self._process = Popen(
                ["/bin/sh", "-c", WAITS, "sh", command],
                stdin=PIPE,
                stdout=PIPE,
                stderr=STDOUT,
                start_new_session=True,  # Ctrl-C does not reach it, and its group can be ended
            )
        except OSError as error:
            raise UsageError(f"{OPTION}: no shell could be started: {error.strerror}") from None
        self._output, self._bytes = b"", 0
        self._begun_ns = 0
        self._reader = gevent.spawn(self._read)

    def run(self) -> None:
        """Begin the command, and wait for its end."""
        self._begun_ns = monotonic_ns()
        with suppress(OSError):  # the shell is gone
            self._process.stdin.write(b"\n")
            self._process.stdin.close()
        self._process.wait()
        self._reader.join(DRAIN_S)

    def end(self) -> None:
        """End a command that has not ended, or has not begun."""
        self._process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with suppress(TimeoutExpired):
                    self._process.wait(END_S)
        self._reader.kill()

    def result(self, hide: Callable[[str], str], *, is_ended: bool) -> dict[str, Any]:
        """Return the keys of the command's end in run.json. `status` is None if the end of the run
        ended it.
        """
        text = hide(self._output.decode(errors="replace"))
        return {
            "status": self._process.returncode if is_ended else None,
            "took_s": (monotonic_ns() - self._begun_ns) / NS_PER_S,
            "output": "\n".join(map(escape_control, text.splitlines())),
            "output_bytes": self._bytes,
        }

    def _read(self) -> None:
        descriptor = self._process.stdout.fileno()
        make_nonblocking(descriptor)
        while data := nb_read(descriptor, READ_SIZE):
            self._bytes += len(data)
            self._output = (self._output + data)[-MAX_OUTPUT:]
            gevent.sleep(READ_PAUSE_S)


def _entry(event: EventPlan, at_utc_ns: int | None) -> dict[str, Any]:
    return {"name": event.name, "planned_s": event.at_s, "at_utc_ns": at_utc_ns}


class RunEvents:
    """The events of one run. `entries` are those that have happened, as in run.json. `changed` is
    called when they change, `say` prints a line, and `hide` removes secrets.
    """

    def __init__(
        self,
        planned: Sequence[EventPlan],
        *,
        changed: Callable[[list[dict[str, Any]]], object],
        say: Callable[[str], object],
        hide: Callable[[str], str],
    ) -> None:
        self._changed, self._say, self._hide = changed, say, hide
        self.entries: list[dict[str, Any]] = []
        self._planned = planned
        self._commands = {
            event.name: EventCommand(event.command) for event in self._planned if event.command
        }
        self._greenlets: list[gevent.Greenlet] = []

    def begin(self, started_ns: int) -> None:
        """Wait for the events. `started_ns` is the start of the load, on the monotonic clock."""
        for event in self._planned:
            left_s = event.at_s - (monotonic_ns() - started_ns) / NS_PER_S
            self._greenlets.append(gevent.spawn_later(max(0.0, left_s), self._happen, event))

    def _happen(self, event: EventPlan) -> None:
        entry = _entry(event, utc_ns())
        self.entries.append(entry)
        self._changed(self.entries)
        self._say(f"event: {event.name}")
        if (command := self._commands.get(event.name)) is None:
            return
        command.run()
        entry |= command.result(self._hide, is_ended=True)
        self._changed(self.entries)
        if entry["status"]:
            _, _, last = entry["output"].rpartition("\n")
            self._say(
                f"event {event.name}: its command ended with status {entry['status']}: {last}"
            )

    def close(self) -> None:
        """End what has not ended, and record what did not happen."""
        gevent.killall(self._greenlets)
        gevent.joinall([gevent.spawn(command.end) for command in self._commands.values()])
        for event in self._planned:
            entry = next((each for each in self.entries if each["name"] == event.name), None)
            if entry is None:
                self.entries.append(_entry(event, None))
                self._say(f"event {event.name} did not happen: the run ended before it")
            elif event.command and "status" not in entry:
                entry |= self._commands[event.name].result(self._hide, is_ended=False)
                self._say(f"event {event.name}: its command was still running, and was ended")
        if self.entries:
            self._changed(self.entries)
