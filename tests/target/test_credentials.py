"""A secret leaves a `Credential` by one door only."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.target.credentials import SHORTEST_SECRET, Credential, cleaned, redacted

SECRET = "s3cr3t"


def test_a_scheme_stands_before_the_secret_and_is_none_itself() -> None:
    credential = Credential("Authorization", "a-long-secret", "Bearer")

    assert credential.header() == ("Authorization", "Bearer a-long-secret")
    assert credential.hide("Bearer tokens: a-long-secret is wrong") == "Bearer tokens: *** is wrong"


def test_printing_shows_the_header_s_name_and_no_secret() -> None:
    credential = Credential("api-key", SECRET)

    for text in (
        repr(credential),
        str(credential),
        f"{credential}",
        f"{[credential]}",
        json.dumps([credential], default=str),
    ):
        assert SECRET not in text
    assert "api-key" in repr(credential)
    assert not hasattr(credential, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_credential_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(Credential("api-key", SECRET), protocol)
    with pytest.raises(TypeError, match="not to be pickled"):
        copy.deepcopy(Credential("api-key", SECRET))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *((text, "key") for text in ("key", " key\n", "\tkey\r\n", '"key"', "'key' ", '" key "')),
        *((text, "") for text in ("", "  ", '""', "' '")),
    ],
)
def test_what_copying_leaves_round_a_key_is_taken_off(text: str, key: str) -> None:
    assert cleaned(text, "KEY") == key


HIDDEN = {
    "a secret that someone quotes": ("sk-12345678", "no such key: sk-12345678!", "no such key: ***!"),
    "a key that is a mere word does not blot out that word": ("wrong", "wrong key", "wrong key"),
    "a secret that was cut with its sentence": ("sk-1234567890", "no such key: sk-123456", "no such key: ***"),
}


@pytest.mark.parametrize(("secret", "said", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_hidden_in_what_others_say(secret: str, said: str, shown: str) -> None:
    assert Credential("api-key", secret).hide(said) == shown


@pytest.mark.parametrize("secrets", list(permutations(["sk-12345678", "sk-12345678-and-more"])))
def test_a_secret_that_begins_with_another_one_is_hidden_as_a_whole(secrets: Sequence[str]) -> None:
    credentials = [Credential("api-key", secret) for secret in secrets]

    assert redacted("no such key: sk-12345678-and-more!", credentials) == "no such key: ***!"


@pytest.mark.parametrize("text", ["k\ney", "k ey", "k\x00ey", "k\x7fey", "kéy", "k\udc80ey", "k\r\nX-Evil: 1"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match=r"^KEY contains a space, a line break or a non-ASCII character") as caught:
        cleaned(text, "KEY")
    assert text not in str(caught.value)


SECRETS = st.text("ab.", min_size=SHORTEST_SECRET, max_size=30)
"""Of few characters, so that they repeat themselves and overlap what stands around them."""


@given(secret=SECRETS, before=st.text("ab. ", max_size=20), after=st.text("ab. ", max_size=20))
def test_no_text_shows_a_secret_that_stands_in_it(secret: str, before: str, after: str) -> None:
    assert secret not in Credential("api-key", secret).hide(before + secret + after)


@given(secret=SECRETS, before=st.text("ab. ", max_size=20), data=st.data())
def test_no_text_ends_in_what_was_left_of_a_secret(secret: str, before: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(SHORTEST_SECRET, len(secret)))

    hidden = Credential("api-key", secret).hide(before + secret[:length])
    assert not any(hidden.endswith(secret[:left]) for left in range(SHORTEST_SECRET, len(secret) + 1))


@given(secret=SECRETS, text=st.text("ab. ", max_size=60))
def test_a_text_without_the_beginning_of_the_secret_stays_as_it_is(secret: str, text: str) -> None:
    hidden = Credential("api-key", secret).hide(text)

    assert hidden == text or secret[:SHORTEST_SECRET] in text


def test_a_long_token_that_occurs_nowhere_costs_one_search() -> None:
    looked_for = []

    class Text(str):
        def __contains__(self, part: object) -> bool:
            looked_for.append(part)
            return super().__contains__(part)  # type: ignore[operator]

    text = Text("a service's words")

    assert Credential("Authorization", "x" * 2_000, "Bearer").hide(text) is text
    assert looked_for == ["x" * SHORTEST_SECRET]
