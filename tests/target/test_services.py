"""Services by name: the defaults that a service gives to a target for its address, dialect and
sign-in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.services.registry import DIALECTS, SERVICES
from bench.target.target import Credential, Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from tests.helpers import resolve_target

KEY = "sk-of-this-test-0"
KEYS = {
    known.api_key_env: f"key-of-{name}" for name, known in SERVICES.items() if known.api_key_env
}


def named(folder: Path, *lines: str, environ: dict[str, str] = KEYS, name: str = "one") -> Target:
    path = folder / "targets.yaml"
    path.write_text("targets:\n  one:\n" + "".join(f"    {line}\n" for line in lines))
    (target,) = resolve_targets(environ, ServiceOptions(targets=(name,), target_file=path))
    return target


def refusal(folder: Path, *lines: str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        named(folder, *lines, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name, known in SERVICES.items() if known.url])
def test_a_service_sets_its_address_dialect_and_key(name: str, tmp_path: Path) -> None:
    known = SERVICES[name]
    target = named(tmp_path, f"service: {name}", "model: voice-1")

    assert (target.service, target.dialect) == (name, known.dialect)
    assert target.host in known.url.replace("{region}", "us-east-1")
    assert DIALECTS[known.dialect.name] is known.dialect
    named_model = {"model": "voice-1"}
    assert "voice-1" in target.resource or target.session in ({"extra": named_model}, named_model)
    if known.api_key_env is not None:
        assert isinstance(target.auth, Credential)
        header, scheme = known.key_header
        assert target.auth.header() == (header, f"{scheme} key-of-{name}".strip())


@pytest.mark.parametrize(
    "name", [name for name, known in SERVICES.items() if known.hosts and known.url]
)
def test_an_address_identifies_its_service(name: str) -> None:
    known = SERVICES[name]
    url = known.url.replace("{model}", "m")
    target = resolve_target({"K": "some-key-1"}, url=url, api_key_env="K")

    assert (target.service, target.dialect) == (name, known.dialect)
    assert not target.notices
    assert isinstance(target.auth, Credential)
    assert target.auth.scheme == known.key_header.scheme


@pytest.mark.parametrize(
    ("service", "variable", "value", "url"),
    [
        (
            "openai",
            "OPENAI_BASE_URL",
            "http://127.0.0.1:81/v1",
            "ws://127.0.0.1:81/v1/realtime?model=m",
        ),
        (
            "openai",
            "OPENAI_BASE_URL",
            '"https://gw/openai/v1/"',
            "wss://gw/openai/v1/realtime?model=m",
        ),
        ("openai", "OPENAI_API_BASE", "https://gw", "wss://gw/v1/realtime?model=m"),
        (
            "openai",
            "OPENAI_BASE_URL",
            "http://a:secret-word@gw/v1",
            "wss://HOST/v1/realtime?model=m",
        ),
        (
            "openai",
            "OPENAI_BASE_URL",
            "https://gw/v1?k=secret-word",
            "wss://gw/v1/realtime?model=m",
        ),
        ("openai", "OPENAI_BASE_URL", "http://[/v1", "wss://HOST/v1/realtime?model=m"),
        ("openai", "OPENAI_BASE_URL", "https://api.openai.com/v1", ""),
        ("openai", "OPENAI_BASE_URL", "", ""),
        ("openai", "AWS_ENDPOINT_URL", "https://gw", ""),
        (
            "gemini",
            "GOOGLE_GEMINI_BASE_URL",
            "https://gw/gemini",
            "wss://gw/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService."
            "BidiGenerateContent",
        ),
        (
            "nova-sonic",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
            "http://localhost:9200",
            "http://localhost:9200/model/m/invoke-with-bidirectional-stream",
        ),
    ],
)
def test_an_address_for_other_clients_of_the_service_is_named_with_the_url_to_set(
    tmp_path: Path, service: str, variable: str, value: str, url: str
) -> None:
    """The SDK of OpenAI sends its key to OPENAI_BASE_URL: a gateway is measured by its URL."""
    environ = {"OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY, variable: value}
    target = named(tmp_path, f"service: {service}", "model: m", environ=environ)
    said = f"{variable} is set, but not used: to call its server, set url {url}"

    assert list(target.notices) == ([f"one: {said}"] if url else [])
    if url and "HOST" not in url:  # it can be pasted
        by_url = named(tmp_path, f"service: {service}", f"url: {url}", environ=environ)
        assert variable not in "".join(by_url.notices)


def test_another_name_of_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "GOOGLE_API_KEY is set, but not used: GEMINI_API_KEY is read in its place" in refusal(
        tmp_path, "service: gemini", environ={"GOOGLE_API_KEY": KEY}
    )


def test_a_missing_key_of_a_service_that_requires_one_is_refused(tmp_path: Path) -> None:
    assert "XAI_API_KEY is not set: it must contain the key of xAI Grok" in refusal(
        tmp_path, "service: xai", environ={}
    )
    assert named(tmp_path, "service: litellm", "model: m", environ={}).auth is None
