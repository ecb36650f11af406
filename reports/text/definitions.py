"""The definitions of metrics and rates, as pages print them."""

from collections.abc import Iterable

from bench.catalogue.metrics import CATALOGUE

RATES = {
    "failure_rate": (
        "Share of the planned turns that failed or did not start; unfinished ones are excluded."
    ),
    "throttle_rate": "Share of the ended turns that the service throttled.",
    "returned_share": (
        "Share of the dropped calls that connected again, and were not dropped before a turn"
        " succeeded."
    ),
    "stall_rate": (
        "Share of the successful turns with audio in which the simulated player ran out of audio."
    ),
    "abandonment_rate": (
        "Share of the calls whose callers heard no reply for the time of their patience, and hung"
        " up."
    ),
    "yield_rate": (
        "Share of the interruptions of a reply after which the player was silent within 2 s."
    ),
    "false_yield_rate": (
        "Share of the backchannels, noises and asides played during a reply that stopped it"
        " within 1 s."
    ),
    "truncation_correct_rate": (
        "Share of the checked interrupted replies of which the service retained only the"
        " audio that was played."
    ),
    "false_reply_rate": (
        "Share of the turns after a sound during silence in which the service replied to"
        " that sound."
    ),
    "cut_off_rate": (
        "Share of the VAD turns in which a reply was played before the end of the caller's speech."
    ),
    "crossed_audio_rate": (
        "Share of the calls with a mark in the caller's speech whose callers heard the mark of"
        " another call."
    ),
    "taken_for_mailbox_rate": (
        "Share of the persons whom the agent called and took for a mailbox: it hung up before it"
        " answered their second turn."
    ),
    "taken_for_person_rate": (
        "Share of the mailboxes that the agent took for a person: it spoke, and then waited for an"
        " answer for 4 s after the beep."
    ),
    "early_message_rate": (
        "Share of the mailboxes to which the agent spoke before the end of the beep."
    ),
    "preamble_rate": (
        "Share of the good turns with audio in which other audio preceded the answer."
    ),
    "mcp_failure_rate": "Share of the turns with MCP calls in which a call failed.",
    "task_success_rate": (
        "Share of the turns with a success criterion in their script that met it."
    ),
    "input_wer": (
        "Word errors in the service's transcription of the caller's speech ÷ words of that speech."
    ),
    "reply_wer": (
        "Word errors in the transcripts or texts of replies ÷ words of the expected replies."
    ),
}
"""The definition of each rate; the catalogue has those of metrics."""


def definition(metric: str) -> str:
    """Return the definition of a metric or rate; "" for an unknown one."""
    known = CATALOGUE.get(metric)
    return known.sentence if known else RATES.get(metric, "")


def definitions(metrics: Iterable[str]) -> dict[str, str]:
    """Return the definitions of these metrics, without unknown ones."""
    return {name: text for name in metrics if (text := definition(name))}
