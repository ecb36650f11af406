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
    ("lines", "words"),
    [
        (("service: grok",), "service must be openai, xai, qwen"),
        (("service: qwen",), "the target needs `model`, the name of a model of Qwen-Omni"),
        (
            ("service: xai", "endpoint: https://a.openai.azure.com"),
            "endpoint and service both set the address",
        ),
        (("service: xai", "deployment: d"), "deployment needs `endpoint`"),
    ],
)
def test_incompatible_keys_are_refused(lines: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, *lines)


def test_a_missing_key_of_a_service_that_requires_one_is_refused(tmp_path: Path) -> None:
    assert "XAI_API_KEY is not set: it must contain the key of xAI Grok" in refusal(
        tmp_path, "service: xai", environ={}
    )
    assert named(tmp_path, "service: litellm", "model: m", environ={}).auth is None
