"""Writes a recorder's rows and histograms to disk while sessions go on, and times how late the event loop runs."""

from __future__ import annotations

import sys
from collections.abc import Callable

import gevent

from bench.clock import monotonic_ns, utc_ns
from bench.run.recorder import Recorder
from bench.units import NS_PER_S

BEAT_NS = 10_000_000
TICK_S = 0.5
HISTOGRAMS_EVERY_S = 8.0


def unwritable(error: OSError) -> str:
    """Say in one line what to do where the disk takes no more, or the run folder is gone."""
    if isinstance(error, FileNotFoundError):
        return (
            "the run folder is gone, and the recorded data with it: somebody removed or moved it while the run went on"
        )
    return f"cannot write the run folder: {error.strerror}; make room, or choose another with --runs"


class Flusher:
    """Flushes a recorder in greenlets of its own.

    `stop` asks for the end of the run where they cannot be written, with the reason.
    """

    def __init__(self, recorder: Recorder, stop: Callable[[str], None]) -> None:
        self._recorder, self._stop = recorder, stop
        self.problem: str | None = None
        self._greenlets = [gevent.spawn(work) for work in (self._beat, self._tick, self._keep_histograms)]

    def _beat(self) -> None:
        """Run a 10 ms timer on a fixed schedule and record how late it is: a stall makes all of its beats late."""
        due_ns = monotonic_ns() + BEAT_NS
        while True:
            gevent.sleep(max(0, due_ns - monotonic_ns()) / NS_PER_S)
            now_ns = monotonic_ns()
            while due_ns <= now_ns:
                self._recorder.hub_delay(now_ns - due_ns)
                due_ns += BEAT_NS

    def _tick(self) -> None:
        """Write rows to disk within a second, and a row of `seconds` whenever one of the wall clock is over."""
        tick_ns = int(TICK_S * NS_PER_S)
        second = utc_ns() // NS_PER_S
        while True:
            gevent.sleep((tick_ns - utc_ns() % tick_ns) / NS_PER_S)
            if utc_ns() // NS_PER_S != second:
                second = utc_ns() // NS_PER_S
                self._recorder.end_second()
            self._guarded(self._recorder.flush)

    def _keep_histograms(self) -> None:
        """Write histograms to disk within ten seconds, a slice at a time."""
        while True:
            gevent.sleep(HISTOGRAMS_EVERY_S)
            self._guarded(self._write_histograms)

    def _write_histograms(self) -> None:
        for _ in self._recorder.histogram_slices():
            gevent.sleep(0)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write, or end the run in order; rows that were not written stay in memory for every later attempt."""
        try:
            write()
        except OSError as error:
            self._trouble(unwritable(error))
        except Exception as error:  # whatever it is, what was recorded must reach the disk
            self._trouble(f"cannot record the run: {type(error).__name__}: {error}")

    def _trouble(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem
            self._stop(problem)

    def close(self) -> None:
        """Write the last rows and counts; say so where the disk still takes no more."""
        gevent.killall(self._greenlets)
        try:
            self._recorder.close()
        except Exception as error:  # as in _guarded; there is no later attempt
            if isinstance(error, FileNotFoundError) and self.problem is not None:
                return  # the folder is gone, and that was said
            rows = self._recorder.unwritten_rows
            self.problem = f"cannot write the run folder: {error}; {rows} rows are lost"
            print(f"rtbench: {self.problem}", file=sys.stderr)
