"""A client that plays one session, stops itself once it has asked for a reply, and prints how the session ended.

Once it goes on it is told, in a line, the instant at which the limit of the first delta has ended meanwhile.
"""

from __future__ import annotations

from bench.transport.green import patch

patch()

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from dataclasses import replace  # noqa: E402

from bench.limits import Limits  # noqa: E402
from bench.transport.connect import kernel_stamps  # noqa: E402
from bench.transport.interface import Phases  # noqa: E402
from bench.transport.websocket import open_websocket  # noqa: E402
from tests.helpers import Listening, build_script, say, seated  # noqa: E402
from tests.simulator_process import GUARD_S  # noqa: E402

LONG = Limits(**dict.fromkeys(vars(Limits()), GUARD_S))


class Stopping(Listening):
    """A listener that stops the process once the turn's item and its request have left."""

    sends = 0

    def sent(self, wire_bytes: int, audio_bytes: int, lag_ns: int | None) -> None:
        self.sends += self.began
        if self.sends == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
            ends_ns = int(os.read(0, 64))
            (turn,) = timeline.turns.open
            timeline.limits = replace(LONG, first_delta=(ends_ns - turn.instants["request_sent"]) / 1e9)


if __name__ == "__main__":
    while not kernel_stamps(GUARD_S):  # it begins to stamp when it gets round to it
        pass
    script = build_script(say(), limits=LONG)
    session, timeline, listening = seated(script, open_websocket(sys.argv[1], [], None, LONG, Phases()), Stopping())
    session.play()
    (ended,) = listening.turns
    print(json.dumps([timeline.session().outcome, ended.outcome, ended.receive_timestamp_source]))
