"""`targets.yaml`: each name gives a target, and each error is reported with its line and without
a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest

from bench.base.errors import UsageError
from bench.catalogue.pricing import Prices
from bench.services.openai.preview import PREVIEW
from bench.target.target import Credential, EntraSignIn, Target, redacted
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.transport.interface import Proxy

SECRET = "s3cr3t-of-somebody"
ENVIRON = {
    "MY_KEY": SECRET,
    "USER_NAME": "me@home",
    "PASSWORD": "p:w@/d",
    "PROXY_URL": f"socks5h://me:{SECRET}@p:1",
}
SCOPE = "https://cognitiveservices.azure.com/.default"
TWO = """\
targets:
  east:
    endpoint: https://east.openai.azure.com
    deployment: gpt-realtime
    region: East US 2
    auth: entra
  sweden:
    endpoint: https://sweden.openai.azure.com
    deployment: gpt-realtime
    api_key_env: MY_KEY
    connect_rate: 60
    prices:
      {text_input: 1, text_cached_input: 2, text_output: 3, audio_input: 4, audio_cached_input: 5, audio_output: 6}
    variants:
      quick:
        session:
          voice: verse
          turn_detection: {type: server_vad, silence_duration_ms: 200}
      mini:
        model: gpt-realtime-mini
        prices: gpt-realtime-mini
"""
ONE = "targets:\n  one:\n"


def resolved(
    folder: Path,
    text: str,
    *names: str,
    environ: Mapping[str, str] = ENVIRON,
    **service_options: Any,
) -> list[Target]:
    path = folder / "targets.yaml"
    path.write_text(text, encoding="utf-8")
    return resolve_targets(
        environ, ServiceOptions(targets=names, target_file=path, **service_options)
    )


def the_one(
    folder: Path, *lines: str, environ: Mapping[str, str] = ENVIRON, **service_options: Any
) -> Target:
    """Return the target `one` of a file that contains these lines. The first of them is line 3
    of the file.
    """
    (target,) = resolved(
        folder,
        ONE + "".join(f"    {line}\n" for line in lines),
        "one",
        environ=environ,
        **service_options,
    )
    return target


def refusal(folder: Path, text: str, *names: str, **options: Any) -> str:
    """Return the error that the user sees, without the path of the folder."""
    with pytest.raises(UsageError) as caught:
        resolved(folder, text, *names, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert SECRET not in message
    return message.replace(f"{folder}/", "")


def refusal_of(folder: Path, *lines: str, **options: Any) -> str:
    return refusal(folder, ONE + "".join(f"    {line}\n" for line in lines), "one", **options)


AZURE = ("endpoint: https://res.openai.azure.com", "deployment: d")
URL = "url: wss://voice.example/v1/realtime?model=m"

# --- the meaning of keys


def test_targets_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    sweden, east = resolved(tmp_path, TWO, "sweden", "east")

    assert (sweden.label, sweden.host) == ("sweden", "sweden.openai.azure.com")
    assert (sweden.connects_per_min, sweden.prices) == (60, Prices(1, 2, 3, 4, 5, 6))
    assert isinstance(sweden.auth, Credential)
    assert sweden.auth.header() == ("api-key", SECRET)
    assert (east.label, east.region, east.model) == ("east", "East US 2", "gpt-realtime")
    assert east.auth == EntraSignIn("https://cognitiveservices.azure.com/.default")
    assert east.url == "wss://east.openai.azure.com/openai/v1/realtime?model=gpt-realtime"


def test_a_variant_is_a_separate_target_with_other_settings(tmp_path: Path) -> None:
    sweden, quick, mini = resolved(tmp_path, TWO, "sweden", "sweden.quick", "sweden.mini")

    assert (quick.label, quick.variant_of, quick.url) == ("sweden.quick", "sweden", sweden.url)
    assert quick.session == {
        "voice": "verse",
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
    }
    assert quick.session_source == f"{tmp_path}/targets.yaml:16:9"
    assert quick.prices == sweden.prices
    assert (mini.model, mini.session) == ("gpt-realtime-mini", {})
    assert mini.prices == Prices(0.6, 0.06, 2.4, 10, 0.3, 20, 0.8, 0.08)
    assert (sweden.variant_of, sweden.session, sweden.session_source) == (None, {}, "")


NOVA = "{}/model/{}/invoke-with-bidirectional-stream"


@pytest.mark.parametrize(
    ("url", "service", "model"),
    [
        (NOVA.format("http://127.0.0.1:9200", "amazon.nova-2-sonic-v1%3A0"), "", None),
        (NOVA.format("http://127.0.0.1:9200", "amazon.nova-2-sonic-v1:0") + "/", "", None),
        (NOVA.format("https://gw.test/bedrock", "amazon.nova-2-sonic-v1%3A0"), "nova-sonic", None),
        (
            NOVA.format("https://gw.test", "arn%3Aaws%3Aprofile%2Fx%2By+z"),
            "",
            "arn:aws:profile/x+y+z",
        ),
        ("https://gw.test/model/other", "nova-sonic", ""),
        ("wss://gw.test/model/m/invoke-with-bidirectional-stream?model=q", "openai", "q"),
    ],
)
def test_the_model_in_the_path_of_a_url_is_the_model_of_the_target(
    tmp_path: Path, url: str, service: str, model: str | None
) -> None:
    known = f"    service: {service}\n" if service else ""
    text = f"targets:\n  one:\n    url: {url}\n{known}    variants: {{b: {{model: a/b:1}}}}\n"
    (target,) = resolved(tmp_path, text, "one")

    named = "amazon.nova-2-sonic-v1:0" if model is None else model
    assert (target.model or "") == named
    assert (target.terms.requested_model or "") == named
    if service != "openai" and named:
        (variant,) = resolved(tmp_path, text, "one.b")
        assert variant.model == "a/b:1"
        assert "/model/a%2Fb%3A1/invoke" in variant.resource


def test_the_model_of_a_variant_replaces_that_in_the_url(tmp_path: Path) -> None:
    text = f"{ONE}    {URL}&x=%20\n    variants: {{b: {{model: n o}}}}\n".replace("n o", "n+o")

    (target,) = resolved(tmp_path, text, "one.b")

    assert (target.resource, target.model) == ("/v1/realtime?model=n%2Bo&x=%20", "n+o")
    assert "names no model" in refusal(tmp_path, text.replace("model=m", "call_id=m"), "one.b")


def test_without_auth_in_the_file_no_key_is_sent(tmp_path: Path) -> None:
    target = the_one(tmp_path, *AZURE, environ={"AZURE_OPENAI_API_KEY": SECRET})

    assert target.auth is None
    assert target.notices == (
        "one: no key is sent: set api_key_env to the name of the variable that contains the key,"
        " e.g. AZURE_OPENAI_API_KEY, which is set",
    )


def test_an_unused_key_of_the_environment_gives_one_notice(tmp_path: Path) -> None:
    text = TWO.replace("api_key_env: MY_KEY", "auth: azure_cli")

    targets = resolved(tmp_path, text, "east", "sweden", environ={"AZURE_OPENAI_API_KEY": SECRET})

    notices = [notice for target in targets for notice in target.notices]
    assert notices == ["AZURE_OPENAI_API_KEY is ignored: east signs in through Microsoft Entra ID"]


def test_values_of_variables_in_headers_are_secret(tmp_path: Path) -> None:
    target = the_one(
        tmp_path, URL, "headers: {X-Key: 'Bearer ${MY_KEY}', X-Plain: hello, user-agent: mine}"
    )

    assert dict(target.headers) == {
        "X-Key": f"Bearer {SECRET}",
        "X-Plain": "hello",
        "user-agent": "mine",
    }
    assert [secret.redact(f"no {SECRET}, hello") for secret in target.secrets] == ["no ***, hello"]
    assert SECRET not in repr(target)


def test_a_url_may_have_secret_variables_and_a_uuid_per_connection(tmp_path: Path) -> None:
    target = the_one(
        tmp_path, "url: 'wss://voice.example/v1/realtime?model=m&apiKey=${MY_KEY}&key={uuid}'"
    )
    first, second = target.connection_url("a"), target.connection_url("b")

    assert f"apiKey={quote(SECRET, safe='')}&key=" in first
    assert first != second
    assert first.partition("&key=")[0] == second.partition("&key=")[0]
    assert target.public_url == "wss://voice.example/v1/realtime?model=m&apiKey=***&key=***"
    for spelling in (SECRET, quote(SECRET, safe="")):
        assert redacted(f"no {spelling}, hello", target.secrets) == "no ***, hello"
    assert SECRET not in repr(target)


@pytest.mark.parametrize(
    ("key", "sent"),
    [("bWU6cHc=", "bWU6cHc="), ("me:a-long-password", "bWU6YS1sb25nLXBhc3N3b3Jk")],
)
def test_a_key_may_be_sent_as_basic_authentication(tmp_path: Path, key: str, sent: str) -> None:
    target = the_one(tmp_path, URL, "auth: basic", "api_key_env: BASIC", environ={"BASIC": key})

    assert isinstance(target.auth, Credential)
    assert target.auth.header() == ("Authorization", f"Basic {sent}")
    if ":" in key:
        assert redacted("of a-long-password, me:a-long-password", target.secrets) == "of ***, ***"


def test_values_of_variables_in_subprotocols_are_secret(tmp_path: Path) -> None:
    target = the_one(
        tmp_path,
        URL,
        "subprotocols: [realtime, 'openai-insecure-api-key.${TOKEN}']",
        environ={"TOKEN": "sk-a-key-of-16"},
    )

    assert target.subprotocols == ("realtime", "openai-insecure-api-key.sk-a-key-of-16")
    assert redacted("no sk-a-key-of-16", target.secrets) == "no ***"


def test_session_settings_of_a_variant_are_merged_with_those_of_its_target(tmp_path: Path) -> None:
    lines = (
        URL,
        "session: {voice: ara, extra: {a: 1}}",
        "variants:",
        "  low: {session: {voice: eve, extra: {b: 2}}}",
    )
    own = the_one(tmp_path, *lines)
    (low,) = resolved(tmp_path, (tmp_path / "targets.yaml").read_text(), "one.low")

    assert own.session == {"voice": "ara", "extra": {"a": 1}}
    assert low.session == {"voice": "eve", "extra": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("line", "proxy"),
    [
        ("proxy: http://p:1", Proxy("http", "p", 1)),
        ("proxy: none", "none"),
        ("proxy: ${NONE}", "none"),
        ("name: one", None),
    ],
)
def test_a_sign_in_uses_the_proxy_of_its_target(
    tmp_path: Path, line: str, proxy: Proxy | Literal["none"] | None
) -> None:
    environ = {"HTTPS_PROXY": "http://of-the-environment:3128", "NONE": "none"}

    assert the_one(tmp_path, *AZURE, "auth: entra", line, environ=environ).auth == EntraSignIn(
        SCOPE, proxy=proxy
    )


def test_prices_refer_to_models_of_the_given_price_table(tmp_path: Path) -> None:
    table = tmp_path / "mine.yaml"
    prices = (
        "{text_input: 1, text_cached_input: 1, text_output: 1, audio_input: 1, audio_cached_input:"
        " 1, audio_output: 1}"
    )
    table.write_text(f"as_of: 2026-01-01\nmodels:\n  my-model: {prices}\n")

    assert the_one(tmp_path, URL, "prices: my-model", price_file=table).prices == Prices(
        1, 1, 1, 1, 1, 1
    )
    assert "prices must name a model of prices.yaml: gpt-4o" in refusal_of(
        tmp_path, URL, "prices: my-model"
    )


def test_an_error_in_a_merged_key_has_the_line_of_its_definition(tmp_path: Path) -> None:
    text = (
        f"{ONE.replace('one:', 'one: &a')}    {URL}\n    compression: gzip\n  two: {{<<: *a, name:"
        " b}\n"
    )

    assert refusal(tmp_path, text, "two").startswith(
        "targets.yaml:4:5: compression must be none or deflate"
    )
    assert resolved(tmp_path, text.replace("gzip", "none"), "two")[0].label == "b"


# --- options that are given in addition to the file


def test_options_override_the_file(tmp_path: Path) -> None:
    lines = (*AZURE, "auth: entra", "compression: none", "proxy: http://p")

    target = the_one(
        tmp_path,
        *lines,
        api_key_env="MY_KEY",
        dialect="preview",
        compression="deflate",
        proxy="none",
    )

    assert isinstance(target.auth, Credential)
    assert (target.dialect, target.network_path.deflate, target.network_path.proxy) == (
        PREVIEW,
        True,
        None,
    )
    assert isinstance(
        the_one(tmp_path, *AZURE, "api_key_env: MY_KEY", auth="entra").auth, EntraSignIn
    )
    assert isinstance(the_one(tmp_path, *AZURE, "api_key_env: MY_KEY", auth="key").auth, Credential)


# --- names


def test_the_default_file_is_targets_yaml_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=r"^targets.yaml: no such file"):
        resolve_targets({}, ServiceOptions(targets=("east",)))
    Path("targets.yaml").write_text(TWO)
    assert [target.label for target in resolve_targets({}, ServiceOptions(targets=("east",)))] == [
        "east"
    ]
