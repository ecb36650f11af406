"""The settings that a service confirmed otherwise than the scripts requested them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from bench.catalogue.causes import Cause, Code
from bench.catalogue.outcomes import (
    CANCELLED_SPLIT,
    NO_KEY,
    NO_REPLY,
    OF_IGNORED_SETTING,
    OutcomeRow,
    OwnRemedies,
)
from bench.files.sanitize import escape_control
from reports.analysis.summary.targets import parsed_settings
from reports.data.runs import Document, scripts_of

if TYPE_CHECKING:
    from bench.services.confirmed_settings import Unapplied

MAX_READ = 200
"""The maximum number of sessions of a script whose settings are read."""
CAUSES: Mapping[str, tuple[str, ...]] = {
    "turn_detection": (
        "failed:conversation_already_has_active_response",
        "failed:input_audio_buffer_commit_empty",
        "timeout:end_of_turn",
        CANCELLED_SPLIT,
        NO_REPLY,
    ),
    "output": ("failed:no_audio", "failed:no_text"),
    "input_format": (
        "failed:no_transcript",
        "failed:transcription",
        "timeout:end_of_turn",
        NO_REPLY,
    ),
    "output_format": ("failed:inaudible", "protocol_error:base64"),
    "input_transcription": ("failed:no_transcript", "failed:transcription"),
    "max_output_tokens": ("incomplete:max_output_tokens",),
}
"""The outcomes that a setting causes if the service ignores it."""


class IgnoredSetting(NamedTuple):
    """A setting that a target reports otherwise, in `sessions` of the `read` sessions."""

    target: str
    setting: Unapplied
    sessions: int
    read: int

    @property
    def cause(self) -> Cause:
        texts = {name: escape_control(text) for name, text in self.setting._asdict().items()}
        return Cause(Code.IGNORED_SETTING, texts)


def ignored_settings(document: Document, sessions: pd.DataFrame) -> tuple[IgnoredSetting, ...]:
    """Return the settings of each target that it confirmed otherwise. `sessions` needs the columns
    target, script and effective_settings.
    """
    read = Counter[str]()
    found: Counter[tuple[str, Unapplied]] = Counter()
    for script in scripts_of(document):
        target, requested = str(script.get("target")), script.get("requested_settings")
        if not isinstance(requested, dict) or not requested:
            continue
        from bench.services.confirmed_settings import unapplied_settings

        are_its = (sessions["target"] == target) & (sessions["script"] == script.get("name"))
        for text in sessions.loc[are_its, "effective_settings"].dropna().iloc[:MAX_READ]:
            read[target] += 1
            for setting in set(unapplied_settings(requested, parsed_settings(str(text)))):
                found[target, setting] += 1
    return tuple(
        IgnoredSetting(target, setting, n, read[target]) for (target, setting), n in found.items()
    )


def remedies_with(
    ignored: Iterable[IgnoredSetting], own: OwnRemedies, entry: Mapping[str, Any]
) -> OwnRemedies:
    """Return the remedies of a target, in which ignored settings precede those of the failures
    that they cause, and a key that was not sent one that is refused. `entry` is that of the target
    in run.json.
    """
    lacks_key = entry.get("auth", "") is None and own.of_refusal is None
    rows = {"connect_failed:401": OutcomeRow(remedy=NO_KEY)} if lacks_key else {}
    rows |= {
        outcome: OutcomeRow(remedy=OF_IGNORED_SETTING.format(one.cause.text))
        for one in ignored
        for outcome in CAUSES.get(one.setting.name.partition(".")[0], ())
    }
    return own if not rows else OwnRemedies({**own.rows, **rows}, own.of_refusal, own.in_doctor)
