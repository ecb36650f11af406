"""The choice of a proxy, by the URL of the proxy or by the usual environment variables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.target.network_path import (
    SCHEMES,
    environment_proxy,
    environment_proxy_secrets,
    parsed_proxy,
    proxy_url,
)
from bench.transport.interface import Proxy

HOST = "res.openai.azure.com"
EVERYWHERE = {"ALL_PROXY": "http://all.example:1"}


def used(environ: dict[str, str], host: str = HOST, port: int = 443) -> tuple[str, str] | None:
    """Return the host of the proxy, and the environment variable from which the proxy is taken.

    Return None if no proxy is used.
    """
    found = environment_proxy(environ, host, port)
    return None if found is None else (found[0].host, found[1])


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("http://me:p%40ss%3A@10.0.0.1:8080", Proxy("http", "10.0.0.1", 8080, "me", "p@ss:")),
        ("socks5://[::1]:1080", Proxy("socks5", "::1", 1080, remote_dns=False)),
        ("socks5h://p", Proxy("socks5", "p", 1080)),
        ("socks4://me@p", Proxy("socks4", "p", 1080, "me", remote_dns=False)),
        ("socks4a://p:9", Proxy("socks4", "p", 9)),
    ],
)
def test_a_proxy_url_sets_the_protocol_and_the_dns_side(text: str, proxy: Proxy) -> None:
    assert parsed_proxy(text, "--proxy") == proxy


@given(st.text(max_size=40))
def test_any_text_is_a_proxy_or_a_one_line_error(text: str) -> None:
    try:
        proxy: Proxy | UsageError = parsed_proxy(text, "--proxy")
    except UsageError as error:
        proxy = error

    assert (
        str(proxy).isprintable()
        if isinstance(proxy, UsageError)
        else proxy.host and 0 < proxy.port < 65_536
    )


TABLE = Path(__file__).with_name("proxies.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", re.findall("^(?!#).*→.*$", TABLE, re.MULTILINE))
def test_the_environment_selects_the_proxy_of_a_host(row: str) -> None:
    variables, place, proxy = row.split("→ ")
    host, port = place.split()
    environ = dict(word.split("=", 1) for word in shlex.split(variables))

    assert " ".join(used(environ, host, int(port)) or "-") == proxy


@given(st.text(max_size=40), st.sampled_from([HOST, "10.0.0.1", "2001:db8::4"]))
def test_any_value_of_no_proxy_is_accepted(no_proxy: str, host: str) -> None:
    assert used(EVERYWHERE | {"NO_PROXY": no_proxy}, host) in (None, ("all.example", "ALL_PROXY"))


def test_an_error_in_a_proxy_variable_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^HTTPS_PROXY begins with https://"):
        used({"HTTPS_PROXY": "https://proxy.example"})


# --- for libraries


@given(
    scheme=st.sampled_from(sorted(SCHEMES)),
    host=st.sampled_from(["proxy.example", "10.0.0.1", "::1"]),
    port=st.integers(1, 65_535),
    user=st.none() | st.text(min_size=1),
    password=st.none() | st.text(min_size=1),
)
def test_a_proxy_is_unchanged_by_formatting_and_parsing(
    scheme: str, host: str, port: int, user: str | None, password: str | None
) -> None:
    speaks, _, remote_dns = SCHEMES[scheme]
    known = None if user is None or speaks == "socks4" else password
    proxy = Proxy(speaks, host, port, user, known, remote_dns)

    assert parsed_proxy(proxy_url(proxy), "--proxy") == proxy


@given(
    st.dictionaries(
        st.sampled_from(["HTTPS_PROXY", "https_proxy", "all_proxy", "HTTP_PROXY"]), st.text()
    )
)
def test_secrets_of_proxies_in_any_environment_name_their_variable(environ: dict[str, str]) -> None:
    assert all(
        secret.name in environ
        for secret in environment_proxy_secrets(environ)
        if secret.header()[1]
    )
