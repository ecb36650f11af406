"""The target of Amazon Nova Sonic, and its extra."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.doctor.service_checks import examine_sign_in
from bench.services.nova_sonic.dialect import EVENT_STREAM, NOVA_SONIC
from bench.services.registry import service_at
from bench.target.tokens import Keyring
from bench.transport import links
from bench.wire.service import MEDIA_LINKS, Link
from tests.helpers import resolve_target


def test_region_and_model_are_keys_of_a_target(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("targets:\n  a: {service: nova-sonic, region: eu-north-1, model: 'x:1'}\n")
    target = resolve_target({}, targets=("a",), target_file=path)

    assert target.url == (
        "https://bedrock-runtime.eu-north-1.amazonaws.com/model/x%3A1"
        "/invoke-with-bidirectional-stream"
    )
    assert not target.notices
    assert examine_sign_in(target, Keyring((target,))).result == "pass"
    assert (target.link, target.dialect, target.region) == (EVENT_STREAM, NOVA_SONIC, "eu-north-1")
    found = service_at("proxy.example", "/model/x/invoke-with-bidirectional-stream")
    assert found is not None
    assert found.name == "nova-sonic"


@pytest.mark.parametrize("link", [EVENT_STREAM, *MEDIA_LINKS], ids=lambda link: link.title)
def test_a_missing_extra_is_named_in_one_line(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, link.opener.partition(":")[0], None)
    with pytest.raises(UsageError, match=rf"pip install 'rtbench\[{link.extra}\]'$"):
        links.opener_of(link)
    assert link.extra == ("aws" if link is EVENT_STREAM else "calls")
