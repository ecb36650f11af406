"""The class `Credential`. A secret leaves it only through one method."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.target.target import MIN_SECRET_CHARACTERS, Credential, clean, redacted

SECRET = "s3cr3t"


def test_a_header_has_the_scheme_before_the_secret_and_only_the_secret_is_hidden() -> None:
    credential = Credential("Authorization", "a-long-secret", "Bearer")

    assert credential.header() == ("Authorization", "Bearer a-long-secret")
    assert (
        credential.redact("Bearer tokens: a-long-secret is wrong") == "Bearer tokens: *** is wrong"
    )


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
def test_whitespace_and_quotes_around_a_key_are_removed(text: str, key: str) -> None:
    assert clean(text, "KEY") == key


HIDDEN = {
    "a quoted secret": ("sk-12345678", "no such key: sk-12345678!", "no such key: ***!"),
    "a key that is a common word is not hidden": ("wrong", "wrong key", "wrong key"),
    "a truncated secret": ("sk-1234567890", "no such key: sk-123456", "no such key: ***"),
    "a truncated secret in each line": (
        "sk-1234567890",
        "a: sk-123456\nsk-123456789\nsk-1234567!",
        "a: ***\n***\nsk-1234567!",
    ),
    "a long part of a secret": (
        "sk-0123456789abcdefghijklmno",
        "a (sk-0123456789abcdefghijk…) b",
        "a (***…) b",
    ),
    "a short part of a secret": (
        "sk-0123456789abcdefghijklmno",
        "begins with sk-01234, not",
        "begins with sk-01234, not",
    ),
    "a secret in an outcome": ("sk+1234567/90==", "failed:sk_1234567_90__", "failed:***"),
    "a truncated secret in an outcome": ("sk+1234567/90==", "failed:sk_1234567_", "failed:***"),
    "a secret of signs has no spelling in an outcome": (
        "{{{{{{{{{{",
        "failed:__________",
        "failed:__________",
    ),
}


@pytest.mark.parametrize(("secret", "text", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_a_secret_is_hidden_in_external_texts(secret: str, text: str, shown: str) -> None:
    assert Credential("api-key", secret).redact(text) == shown


@pytest.mark.parametrize("secrets", list(permutations(["sk-12345678", "sk-12345678-and-more"])))
def test_a_secret_that_begins_with_another_one_is_hidden_completely(secrets: Sequence[str]) -> None:
    credentials = [Credential("api-key", secret) for secret in secrets]

    assert redacted("no such key: sk-12345678-and-more!", credentials) == "no such key: ***!"


@pytest.mark.parametrize(
    "text", ["k\ney", "k ey", "k\x00ey", "k\x7fey", "kéy", "k\udc80ey", "k\r\nX-Evil: 1"]
)
def test_a_key_with_invalid_header_characters_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^KEY contains a space, a line break or a non-ASCII character"
    ) as caught:
        clean(text, "KEY")
    assert text not in str(caught.value)


SECRETS = st.text("ab.", min_size=MIN_SECRET_CHARACTERS, max_size=30)
"""Secrets of only three different characters. They contain repetitions, and overlap with the
text around them."""


@given(secret=SECRETS, before=st.text("ab. ", max_size=20), after=st.text("ab. ", max_size=20))
def test_a_secret_within_a_text_is_hidden(secret: str, before: str, after: str) -> None:
    assert secret not in Credential("api-key", secret).redact(before + secret + after)


@given(secret=SECRETS, before=st.text("ab. ", max_size=20), data=st.data())
def test_a_truncated_secret_at_the_end_of_a_text_is_hidden(
    secret: str, before: str, data: st.DataObject
) -> None:
    length = data.draw(st.integers(MIN_SECRET_CHARACTERS, len(secret)))

    hidden = Credential("api-key", secret).redact(before + secret[:length])
    assert not any(
        hidden.endswith(secret[:left]) for left in range(MIN_SECRET_CHARACTERS, len(secret) + 1)
    )


@given(secret=SECRETS, text=st.text("ab. ", max_size=60))
def test_a_text_without_the_beginning_of_the_secret_is_unchanged(secret: str, text: str) -> None:
    hidden = Credential("api-key", secret).redact(text)

    assert hidden == text or secret[:MIN_SECRET_CHARACTERS] in text
