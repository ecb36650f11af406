"""The key `network` of targets and variants."""

from __future__ import annotations

from pathlib import Path

from bench.load.planning.workload import target_facts
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.transport.impairment.profiles import OF_PACKETS, OF_STREAMS, PROFILES

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"
HEAD = "targets:\n  home:\n    url: ws://127.0.0.1:1/v1/realtime?model=m\n"
PHONE = "targets:\n  home:\n    url: sip:agent@127.0.0.1\n"


def resolved(folder: Path, text: str, *names: str) -> list[Target]:
    (file := folder / "targets.yaml").write_text(text, encoding="utf-8")
    return resolve_targets({}, ServiceOptions(targets=names or ("home",), target_file=file))


def test_a_variant_differs_only_in_its_network_and_run_json_has_it(tmp_path: Path) -> None:
    variants = (
        "    network: good\n    variants: {away: {network: mobile}, own: {network: {rate_kbit:"
        " 600}}, same: {}}\n"
    )
    home, away, own, same = resolved(
        tmp_path, HEAD + variants, "home", "home.away", "home.own", "home.same"
    )

    facts = [target_facts(target, None) for target in (home, away, own, same)]
    assert [entry["session"]["network"] for entry in facts] == [
        {"profile": "good"},
        {"profile": "mobile", "stall_ms": 300, "stall_every_s": 15, "rate_kbit": 1_200},
        {"profile": "own", "rate_kbit": 600},
        {"profile": "good"},
    ]
    assert {target.url for target in (home, away, own, same)} == {home.url}


def test_losses_are_set_in_percent(tmp_path: Path) -> None:
    (home,) = resolved(tmp_path, PHONE + "    network: {loss: 2.5%, burst: 3, jitter_ms: 20}\n")

    network = home.network_path.network
    assert network is not None
    assert (network.loss, network.burst, network.jitter_ms) == (0.025, 3, 20)
    assert network.settings["loss"] == "2.5%"


def test_a_target_without_the_key_has_no_network(tmp_path: Path) -> None:
    (home,) = resolved(tmp_path, HEAD)

    assert home.network_path.network is None
    assert "network" not in target_facts(home, None)["session"]


def test_the_documentation_has_the_values_of_every_profile() -> None:
    def cell(values: list[str | None]) -> str:
        return ", ".join(value or "–" for value in values) if any(values) else "–"

    for name, network in PROFILES.items():
        texts = {
            key: f"{value:,}" if isinstance(value, int | float) else value
            for key, value in network.settings.items()
        }
        packets, stream = (
            cell([texts.get(key) for key in keys]) for keys in (OF_PACKETS, OF_STREAMS)
        )
        assert f"| `{name}` | {packets} | {stream} |" in PAGE.read_text(encoding="utf-8")
