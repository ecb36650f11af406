"""The messages of `messages`: what each dialect sends, refuses and reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from bench.services.registry import DIALECTS
from bench.wire.dialect import decoder_of
from tests.observe.talk_log import Case, cases, value, words_of
from tests.services.message_log import FOLDER, Exchange

CASES = {
    f"{path.stem}: {name}": (path.stem, case)
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize(("dialect", "case"), CASES.values(), ids=CASES)
def test_messages_are_written_refused_and_read_as_in_their_log(dialect: str, case: Case) -> None:
    Exchange(dialect, case)


def unknown(value: Any, at: str = "") -> Iterator[str]:
    """Yield the path of each value that the SDK's types do not define."""
    if isinstance(value, BaseModel):
        yield from (f"{at}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from unknown(item, at)


OFFICIAL = {
    "ga": "realtime.RealtimeClientEvent",
    "gpt_live": "live.ClientEvent",
    "preview": "beta.realtime.RealtimeClientEvent",
    "translation": "realtime.RealtimeTranslationClientEvent",
}
OF_OTHERS = (
    "a dialect writes a PCM sample rate",
    "preview supports voice objects and custom detectors",
)
"""The beginnings of the names of cases with settings that the types of OpenAI refuse."""
UNDEFINED = {".session.input_audio_sampling_rate", ".response.max_output_tokens"}
"""What the types of OpenAI do not define."""


@pytest.mark.parametrize("service", OFFICIAL)
def test_the_messages_of_a_log_are_those_of_the_official_sdk(service: str) -> None:
    module, _, kind = OFFICIAL[service].rpartition(".")
    # takes a second, and every worker imports this module
    official: TypeAdapter[Any] = TypeAdapter(getattr(import_module(f"openai.types.{module}"), kind))
    read = 0
    for name, case in cases(FOLDER / f"{service}.log").items():
        for line in case.lines:
            text = line.text if line.kind == ">" else ""
            text = [*words_of(line.text)][-1][1] if line.text.startswith("sent ") else text
            if text.startswith("{") and not name.startswith(OF_OTHERS):
                event = official.validate_python(value(text), strict=True)
                assert {*unknown(event)} <= UNDEFINED
                read += 1
    assert read > 2


SERVICES = [path.stem for path in FOLDER.glob("*.log") if path.stem.replace("_", "-") in DIALECTS]


@cache
def vocabulary_of(service: str) -> list[str]:
    """Return the keys and values of the messages of a service."""
    return sorted(set(re.findall(r'"([\w.]+)"', (FOLDER / f"{service}.log").read_text())))


@given(service=st.sampled_from(SERVICES), data=st.data())
def test_any_json_with_the_words_of_a_service_is_decoded(service: str, data: st.DataObject) -> None:
    words = st.sampled_from(vocabulary_of(service))
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words
    value = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=6,
    )
    message = st.dictionaries(words | st.just("type"), value, max_size=3)
    decode = decoder_of(DIALECTS[service.replace("_", "-")])
    for each in data.draw(st.lists(message, max_size=5)):
        assert decode(msgspec.json.encode(each))
