"""The addresses that `rtbench simulate` prints when it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.simulator.profile import default_profile
from bench.simulator.serving.ready import ready_document
from rtbench.cli.simulate import _announce


def test_the_start_up_list_has_every_address(capsys: pytest.CaptureFixture[str]) -> None:
    document = ready_document("127.0.0.1", 8765, None, None, [1])
    _announce(document, default_profile(), 1, None)
    listed, _, _ = capsys.readouterr().out.partition("READY")

    assert [url for url in document.urls.values() if str(url) not in listed] == []
    assert "GPT-Live       ws://127.0.0.1:8765/v1/live/sessions\n" in listed
    assert "transcription  ws://127.0.0.1:8765/v1/realtime?intent=transcription\n" in listed


@pytest.mark.parametrize(
    ("ca", "pids", "telephones"),
    [
        (None, [1], {"agent_sip": "sip:agent@127.0.0.1:8765"}),
        (Path("ca.pem"), [1], {"agent_sip": "sip:agent@127.0.0.1:8765", "agent_sips": "sips:agent@127.0.0.1:8765"}),
        (Path("ca.pem"), [1, 2], {}),
    ],
)
def test_only_telephones_that_answer_are_listed(ca: Path | None, pids: list[int], telephones: dict[str, str]) -> None:
    urls = ready_document("127.0.0.1", 8765, ca, None, pids).urls

    assert {name: url for name, url in urls.items() if name.startswith("agent_sip")} == telephones
