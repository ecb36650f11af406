"""The dialect of Realtime translation: its messages, and the settings that it refuses."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import msgspec

from bench.services.translation.dialect import TRANSLATION
from bench.wire.events import EventKind


def sdk(name: str) -> Any:
    """Return a type of the official SDK. Their import takes a second, and every worker imports
    this module.
    """
    return getattr(import_module("openai.types.realtime"), f"RealtimeTranslation{name}")


def test_every_event_of_the_official_sdk_is_known() -> None:
    union = get_args(get_args(sdk("ServerEvent"))[0])
    names = [name for kind in union for name in get_args(kind.model_fields["type"].annotation)]

    assert len(names) == 7
    for name in names:
        event, *_ = TRANSLATION.decode(msgspec.json.encode({"type": name, "delta": "AAAA"}))
        assert event.kind is not EventKind.UNKNOWN, name
