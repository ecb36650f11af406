"""The messages of `messages`: what each dialect sends, refuses and reads."""

from __future__ import annotations

import re
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.registry import DIALECTS
from bench.wire.dialect import decoder_of
from tests.observe.talk_log import Case, cases
from tests.services.message_log import FOLDER, Exchange

CASES = {
    f"{path.stem}: {name}": (path.stem, case)
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize(("dialect", "case"), CASES.values(), ids=CASES)
def test_messages_are_written_refused_and_read_as_in_their_log(dialect: str, case: Case) -> None:
    Exchange(dialect, case)


SERVICES = [path.stem for path in FOLDER.glob("*.log") if path.stem.replace("_", "-") in DIALECTS]


@cache
def words_of(service: str) -> list[str]:
    """Return the keys and values of the messages of a service."""
    return sorted(set(re.findall(r'"([\w.]+)"', (FOLDER / f"{service}.log").read_text())))


@given(service=st.sampled_from(SERVICES), data=st.data())
def test_any_json_with_the_words_of_a_service_is_decoded(service: str, data: st.DataObject) -> None:
    words = st.sampled_from(words_of(service))
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
