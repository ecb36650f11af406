"""The caller of telephone calls (`from`), and the headers that a target may set in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError, each_error
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import check_targets, resolve_targets

ENVIRONMENT = {"NUMBER": "+15550100", "LOGIN": "agent:secret"}
URL = "sip:agent@trunk.example;transport=tls"


def target(**options: Any) -> Target:
    (found,) = resolve_targets(ENVIRONMENT, ServiceOptions(url=URL, **options))
    return found


def sent(found: Target) -> dict[str, str]:
    return {name: value for name, value in found.connection_headers("id") if name != "User-Agent"}


def in_file(tmp_path: Path, text: str, *names: str, **options: Any) -> list[Target]:
    file = tmp_path / "targets.yaml"
    file.write_text(
        f"targets:\n  a: {{service: sip, url: 'sip:a@b.example', {text}}}\n", encoding="utf-8"
    )
    return resolve_targets(
        ENVIRONMENT, ServiceOptions(targets=names or ("a",), target_file=file, **options)
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("+15550123", "<sip:+15550123@trunk.example>"),
        ("+1 (555) 0123", "<sip:+1%20(555)%200123@trunk.example>"),
        ("tel:+15550123", "<sip:+15550123@trunk.example>"),
        ("+15550123@Example.com", "<sip:+15550123@example.com>"),
        ("sip:+15550123@example.com", "<sip:+15550123@example.com>"),
        (
            "<sips:+15550123@example.com:5071;user=phone>",
            "<sips:+15550123@example.com:5071;user=phone>",
        ),
        ('"Support" <sip:+15550123@example.com>', '"Support" <sip:+15550123@example.com>'),
        ("Support Desk <+15550123>", '"Support Desk" <sip:+15550123@trunk.example>'),
        (
            '"M\u00fcller \\"7\\", <x>" <sip:m\u00fcller@pbx_1>',
            '"M\u00fcller \\"7\\", <x>" <sip:m%C3%BCller@pbx_1>',
        ),
        ("*72#", "<sip:*72%23@trunk.example>"),
        ("sip:${NUMBER}@[2001:db8::1]", "<sip:+15550100@[2001:db8::1]>"),
        ("${NUMBER}", "<sip:+15550100@trunk.example>"),
    ],
)
def test_the_caller_is_in_from_and_asserted(written: str, value: str) -> None:
    assert sent(target(from_=written)) == {"From": value, "P-Asserted-Identity": value}


def test_a_caller_that_names_no_one_is_not_asserted() -> None:
    assert sent(target(from_='"Anonymous" <sip:anonymous@anonymous.invalid>')) == {
        "From": '"Anonymous" <sip:anonymous@anonymous.invalid>'
    }


def test_a_target_may_assert_another_identity_than_its_caller(tmp_path: Path) -> None:
    headers = (
        "from: '1@b.example', headers: {p-asserted-identity: '<sip:2@b.example>', Privacy: id}"
    )
    (found,) = in_file(tmp_path, headers)

    assert sent(found) == {
        "From": "<sip:1@b.example>",
        "p-asserted-identity": "<sip:2@b.example>",
        "Privacy": "id",
    }


def test_a_caller_is_only_for_telephones() -> None:
    with pytest.raises(UsageError, match="--caller is only for telephone calls"):
        resolve_targets({}, ServiceOptions(url="ws://localhost:1/agent/pcm", from_="+1"))


@pytest.mark.parametrize("number", ["+15550123", "0301234", "'+15550123'"])
def test_a_number_needs_no_quotes_in_a_file(tmp_path: Path, number: str) -> None:
    (found,) = in_file(tmp_path, f"from: {number}")

    assert sent(found)["From"] == f"<sip:{number.strip(chr(39))}@b.example>"


def test_a_variant_and_an_option_replace_the_caller(tmp_path: Path) -> None:
    text = "from: +1, variants: {same: {}, other: {from: +2}}"

    own, same, other = (
        sent(each)["From"] for each in in_file(tmp_path, text, "a", "a.same", "a.other")
    )
    assert [own, same, other] == ["<sip:+1@b.example>", "<sip:+1@b.example>", "<sip:+2@b.example>"]
    (found,) = in_file(tmp_path, text, "a.other", from_="+3")
    assert sent(found)["From"] == "<sip:+3@b.example>"


def test_the_value_of_a_variable_in_the_caller_is_hidden() -> None:
    found = target(from_="${NUMBER}")

    assert [secret.redact("to +15550100") for secret in found.secrets] == ["to ***"]
    assert "15550100" not in repr(found)


def test_mistakes_in_callers_are_found_without_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(
        "targets:\n  a: {service: sip, url: 'sip:a@b.example', from: '${UNSET}'}\n  b: {service:"
        " sip, url: 'sip:a@b.example', from: '<x'}\n  c:\n    service: sip\n    url:"
        " 'sip:a@b.example'\n    variants:\n      v: {from: 'sip:a@h..x'}\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError) as caught:
        check_targets(file)

    first, second = map(str, each_error(caught.value))
    assert "targets.yaml:3:45: from is not the address of a caller" in first
    assert "targets.yaml:8:11: from is not a valid SIP URI" in second


SIP_SETS = [
    "via",
    "v",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "content-type",
    "c",
    "content-length",
    "l",
]
SIP_SETS += [
    "max-forwards",
    "supported",
    "k",
    "session-expires",
    "x",
    "require",
    "allow",
    "min-se",
    "user-agent",
]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("From", "from"),
        ("f", "from"),
        ("TO", "url"),
        ("Route", "proxy"),
        ("Authorization", "api_key_env` with `auth: basic"),
        ("proxy-authorization", "api_key_env` with `auth: basic"),
        *((name, "") for name in SIP_SETS if name not in ("to", "t")),
    ],
)
def test_a_header_of_sip_itself_is_refused_with_the_key_to_use(
    tmp_path: Path, name: str, key: str
) -> None:
    remedy = f"; set `{key}` of the target" if key else ""
    message = (
        rf"targets.yaml:2:\d+: headers must not set {name}: SIP itself sets it in each"
        rf" call{remedy}$"
    )
    with pytest.raises(UsageError, match=message):
        in_file(tmp_path, f"headers: {{{name}: x}}")
    with pytest.raises(UsageError, match=message):
        check_targets(tmp_path / "targets.yaml")


@pytest.mark.parametrize("value", [r"a\r\nFrom: b", r"a\nb", r"a\0b", r"a\u2028b", " "])
def test_a_header_that_would_begin_another_one_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        UsageError, match=r"targets.yaml:2:\d+: the header X-A must be printable text, in one line$"
    ):
        in_file(tmp_path, f'headers: {{X-A: "{value}"}}')
    with pytest.raises(UsageError, match="the header X-A must be printable text"):
        check_targets(tmp_path / "targets.yaml")
