"""The addresses of telephones: SIP URIs with their transports, outbound proxies and local ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.errors import ScriptError, UsageError
from bench.load.planning.run_plan import Concurrency, check_ports
from bench.protocols.sip.hops import call_address, hop_of
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions, SettingError
from bench.target.targets import resolve_targets
from tests.examples import thorough

ENVIRONMENT = {
    "HTTPS_PROXY": "http://proxy.example:3128",
    "LOGIN": "agent:secret",
    "KEY": "secret-key",
    "NUMBER": "+15550100#",
}


def target(url: str, **options: Any) -> Target:
    (found,) = resolve_targets(ENVIRONMENT, ServiceOptions(url=url, **options))
    return found


def test_an_outbound_proxy_is_a_sip_uri_and_shown() -> None:
    found = target("sip:a@b.example", proxy="sip:proxy.example;transport=tcp")

    assert (
        found.network_path.sip_proxy
        == found.network_path.proxy_name
        == "sip:proxy.example:5060;transport=tcp"
    )
    assert not target("sip:a@localhost", proxy="sip:proxy.example").loopback
    assert target("sip:a@b.example", proxy="sip:localhost").far_host == "b.example"
    assert target("sip:a@localhost", proxy="sip:127.0.0.1").loopback
    assert target("sip:a@localhost", call_hosts="127.0.0.2:5070,[::1]").loopback
    assert target("sip:a@localhost", call_hosts="127.0.0.2,c.example").far_host == "c.example"


def test_a_parameter_that_may_be_a_typing_error_has_a_notice() -> None:
    found = target("sip:a@b.example;trans=tcp;User=phone", proxy="sip:p.example;lr;prt=1")

    effect = "which this tool sends, but does not use: check its spelling"
    assert found.url == "sip:a@b.example:5060;trans=tcp;User=phone"
    assert found.notices == (
        f"--url has the parameter trans, {effect}",
        f"--proxy has the parameter prt, {effect}",
    )


def test_a_telephone_has_no_notice_that_no_key_is_sent() -> None:
    assert target("sip:a@b.example").notices == ()


def test_an_azure_endpoint_is_no_telephone() -> None:
    environment = {
        "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "d",
    }
    with pytest.raises(
        SettingError, match="--dialect sip is for an agent: set --url to its SIP URI,"
    ):
        resolve_targets(environment | {"AZURE_OPENAI_API_KEY": "k"}, ServiceOptions(dialect="sip"))


def test_the_ports_of_rtp_are_even() -> None:
    assert target("sip:a@b.example", rtp_ports="20001-20005").network_path.rtp_ports == range(
        20_002, 20_005, 2
    )


@pytest.mark.parametrize(
    ("url", "options", "is_encrypted"),
    [
        ("sip:a@b.example", {}, False),
        ("sip:a@b.example;transport=tcp", {}, False),
        ("sip:a@b.example;transport=tls", {}, True),
        ("sips:a@b.example", {}, True),
        ("sips:a@b.example", {"srtp": "none"}, False),
        ("sip:a@b.example", {"srtp": "required"}, True),
        ("sip:a@b.example", {"proxy": "sip:p.example"}, False),
        ("sip:a@b.example", {"proxy": "sip:p.example;transport=tls"}, True),
    ],
)
def test_audio_is_encrypted_if_the_setting_or_else_tls_requires_it(
    url: str, options: dict[str, str], is_encrypted: bool
) -> None:
    assert target(url, **options).network_path.srtp is is_encrypted


@pytest.mark.parametrize(
    "user",
    [
        "",
        "%zz",
        "50%",
        "a{b}",
        "${X Y}",
        "a?b",
        "a\n",
        "a\r\nX y",
        "\x7f",
        "a\u200bb",
        "\u2028",
        "\udc80",
    ],
)
def test_a_user_that_cannot_be_called_is_refused_in_one_line(user: str) -> None:
    for url, options in (
        (f"sip:{user}@b.example", {}),
        ("sip:a@b.example", {"proxy": f"sip:{user}@p.example"}),
    ):
        with pytest.raises(
            UsageError,
            match=r"is not a valid SIP URI: its form is|must be Unicode text|has \$\{ without",
        ) as caught:
            target(url, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "h..x",
        "-x",
        ".",
        "999.1.1.1",
        "1.2.3",
        "[1:2]",
        "[::1",
        "::1",
        "x" * 64,
        "b.\u00fc..x",
        "h;x=",
        "h;a==b",
        "h;",
        "h;\u00fc",
    ],
)
def test_a_host_or_a_parameter_that_cannot_be_called_is_refused(host: str) -> None:
    for url, options in ((f"sip:a@{host}", {}), ("sip:a@b.example", {"proxy": f"sip:{host}"})):
        with pytest.raises(SettingError, match=r"valid.*: its form is|names no host"):
            target(url, **options)


CALLABLE = st.from_regex(
    r"sips?:([A-Za-z0-9+*#._~!&=$,/%-]{1,6}@)?[A-Za-z0-9.:\[\]-]{1,12}(;[A-Za-z0-9=%]{1,8}){0,2}",
    fullmatch=True,
)


@given(CALLABLE)
@example("sip:{uuid}@b.example")
@example("sip:${KEY}@b.example")
@thorough
def test_each_accepted_url_is_called_at_the_host_that_it_names(url: str) -> None:
    try:
        found = target(url)
    except UsageError:
        return
    called = call_address(found.connection_url("0" * 32))
    hop, transport = hop_of(found.connection_url("0" * 32), "UDP")

    assert (hop.host.strip("[]"), hop.port, transport) == (
        called.host,
        called.port,
        called.transport,
    )
    assert (called.host, called.port) == (found.host, found.port)


def test_the_zone_of_an_address_decides_where_the_call_goes_and_is_not_sent() -> None:
    for zone in ("%25eth0", "%eth0"):
        found = target(f"sip:a@[fe80::1{zone}]:5070")
        assert (found.url, found.network_path.address) == ("sip:a@[fe80::1]:5070", "fe80::1%eth0")

    proxied = target("sip:a@[fe80::1%eth0]", proxy="sip:[fe80::2%eth1]")
    assert (proxied.network_path.address, proxied.network_path.sip_proxy) == (
        "fe80::2%eth1",
        "sip:[fe80::2]:5060",
    )
    assert (
        target("sip:a@[fe80::1%eth0]", resolve="fe80::3%eth0").network_path.address
        == "fe80::3%eth0"
    )


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "to",
        "VIA",
        "Call-ID",
        "CSeq",
        "Contact",
        "Route",
        "Max-Forwards",
        "Content-Type",
        "f",
        "i",
        "Supported",
    ],
)
def test_a_header_that_sip_itself_sets_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(
        f"targets:\n  a: {{service: sip, url: 'sip:a@b.example', headers: {{{name}: x}}}}\n"
    )
    with pytest.raises(
        ScriptError, match=rf"targets.yaml:2:\d+: headers must not set {name}: SIP itself sets it"
    ):
        resolve_targets({}, ServiceOptions(targets=("a",), target_file=file))


def test_a_run_needs_a_pair_of_ports_for_each_call_at_the_same_time() -> None:
    telephone = target("sip:a@b.example", rtp_ports="20000-20019")

    check_ports(Concurrency(10, 1, 2), [telephone], "--users")
    with pytest.raises(
        UsageError, match=r"from 20000 to 20019 are for 10 calls at the same time.* lower --stages$"
    ):
        check_ports(Concurrency(11, 1, 2), [telephone], "--stages")
    with pytest.raises(UsageError, match="up to 20"):
        check_ports(Concurrency(10, 2, 1), [telephone, telephone], "--users")
    check_ports(Concurrency(10_000, 1, 1), [target("ws://localhost:1/agent/pcm")], "--users")
