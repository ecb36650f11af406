"""Signs in before a run begins; says so where that takes long, or where the run is over before it is done."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from bench.target.tokens import Keyring

LONG_S = 2.0
SIGNING_IN = "signing in through Microsoft Entra ID"


def sign_in(keyring: Keyring, say: Callable[[str], None], long_s: float = LONG_S) -> None:
    """Fetch every token. Raises UsageError where one is refused. `say` gets a line if it takes longer than `long_s`."""
    word = gevent.spawn_later(long_s, say, f"{SIGNING_IN} …")
    try:
        keyring.open()
    finally:
        word.kill(block=False)


def never_begun(stopped: str) -> str:
    """The words of a run that was over before all was signed in. `stopped`: why, "" where its time was over."""
    why = stopped or "its time was over, or it was stopped,"
    return f"the run never began: {why} while it was still {SIGNING_IN}; no session was opened"
