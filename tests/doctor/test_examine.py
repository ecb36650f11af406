"""What is said of a target before it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.doctor.examine import configuration
from bench.target.options import ServiceOptions
from bench.target.targets import resolve_targets

ENVIRONMENT = {
    "HTTPS_PROXY": "http://proxy.test:3128",
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT_NAME": "voice",
}
FILE = "targets: {east: {endpoint: 'https://res.openai.azure.com', deployment: voice, auth: entra, variants: {v: {}}}}"


@pytest.fixture
def targets_file(tmp_path: Path) -> Path:
    file = tmp_path / "targets.yaml"
    file.write_text(FILE)
    return file


@pytest.mark.parametrize("names", [(), ("east",), ("east.v",)])
def test_what_only_informs_is_no_warning_wherever_the_target_is_described(
    names: tuple[str, ...], targets_file: Path
) -> None:
    service_options = ServiceOptions(targets=names, target_file=targets_file if names else None)
    (target,) = resolve_targets(ENVIRONMENT, service_options)
    found = [*configuration(target)]

    assert any(finding.message.startswith("through the proxy http://proxy.test:3128") for finding in found)
    assert {finding.result for finding in found} == {"pass"}


def test_what_is_likely_wrong_is_a_warning() -> None:
    url = "wss://res.openai.azure.com/openai/v1/realtime?model=voice&api-version=2024-10-01-preview"
    (target,) = resolve_targets({"KEY": "k" * 32}, ServiceOptions(url=url, api_key_env="KEY"))

    assert [finding.result for finding in configuration(target)] == ["pass", "warning"]


def test_a_service_that_is_known_is_named_with_how_long_its_sessions_last() -> None:
    (target,) = resolve_targets({}, ServiceOptions(url="wss://api.stepfun.ai/v1/realtime?model=step-audio-2"))
    (said, *_) = configuration(target)

    assert said.message.endswith("stepfun dialect of StepFun, whose sessions last 30 minutes at most")
