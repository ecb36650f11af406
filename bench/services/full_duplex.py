"""The dialects of services that send audio whenever they speak, without naming the turn that it
answers.

GPT-Live is such a service, and so are agents. They have no responses to request, no turns to
commit, and no items to truncate: caller and service always listen. `bench.observe.reply_detector`
detects turns in the audio alone.
"""

# These dialects share what they lack. Where a client can request nothing, most steps of a script
# have no meaning, and a script with such a step is refused before the run. A step that is ignored
# would measure another conversation than the script states.

from __future__ import annotations

from typing import ClassVar

import msgspec

from bench.wire.dialect import Dialect, Feature, TurnSource
from bench.wire.events import EMPTY
from bench.wire.settings import (
    FULL_DUPLEX,
    SessionSettings,
    TurnDetection,
    UnsupportedSetting,
    foreign_setting,
)

UNSPEAKABLE = (
    Feature.IMAGE,
    Feature.OUT_OF_BAND,
    Feature.ASKED,
    Feature.MESSAGE,
    Feature.EXPECTATION,
    Feature.PIPELINED,
    Feature.RENEWAL,
    Feature.CUT,
)
"""The features that no full-duplex dialect has."""


class OpenAIWire(msgspec.Struct):
    """The decoded fields of the events that all services of OpenAI without turns have."""

    type: str = ""
    delta: msgspec.Raw = EMPTY
    session: msgspec.Raw = EMPTY
    error: msgspec.Raw = EMPTY
    usage: msgspec.Raw = EMPTY


class FullDuplexDialect(Dialect):
    """The common part of the full-duplex dialects.

    `title` is the name of the service for users, and `settings` are the session settings that it
    supports. `only_duplex` is the reason why its turn detection cannot be changed. `also_missing`
    are further features that it does not have. `one_format` is True if both directions have the
    same audio format.
    """

    title: ClassVar[str]
    settings: ClassVar[frozenset[str]]
    only_duplex: ClassVar[str]
    also_missing: ClassVar[tuple[Feature, ...]] = (Feature.INTERRUPTION, Feature.SOUND)
    one_format: ClassVar[bool] = True
    turn_source = TurnSource.SOUND
    only_detection = FULL_DUPLEX

    def __init__(self) -> None:
        problem = f"which {self.title} does not support"
        self.missing_features = dict.fromkeys(
            (*UNSPEAKABLE, *self.also_missing), f"{problem}: remove it"
        ) | {Feature.TYPED: f"{problem}: use a recording instead (`audio`)"}

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.turn_detection != TurnDetection(type=FULL_DUPLEX):
            return UnsupportedSetting(
                ("turn_detection",), f"turn_detection must be {FULL_DUPLEX}: {self.only_duplex}"
            )
        if settings.output != "audio":
            return UnsupportedSetting(
                ("output",), f"output must be audio: {self.title} has no {settings.output} output"
            )
        if refused := foreign_setting(settings, self.settings, self.title) or self.unknown_format(
            settings
        ):
            return refused
        if (
            self.one_format
            and self.input_format_for(settings).name != self.output_format_for(settings).name
        ):
            problem = (
                f"output_format must equal input_format: {self.title} has one format for both"
                " directions"
            )
            return UnsupportedSetting(("output_format",), problem)
        return self.own_unsupported(settings)

    def own_unsupported(self, settings: SessionSettings) -> UnsupportedSetting | None:
        """Return the first setting that this dialect does not support although other full-duplex
        dialects may.
        """
        return None
