"""Whatever fails, no access token and no password reaches a file, a log, a report or the screen."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.arms import write_targets
from tests.system.end_to_end.locust_process import only_run, rtbench, run_locust, write_scenario
from tests.system.end_to_end.quoting_service import quoting_service

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}")
"""The begin of a JWT: one that was cut shows it as well."""
EVERYTHING = ("--record-events", "100%", "--record-transcripts", "--loglevel", "DEBUG")


def identity(ready: Ready) -> dict[str, str]:
    assert ready.identity is not None
    return {"IDENTITY_ENDPOINT": ready.identity["endpoint"], "IDENTITY_HEADER": ready.identity["header"]}


def shown(path: Path) -> str:
    """A file's text; of a table, that of its cells."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas().to_csv()
    return path.read_bytes().decode("latin-1")


def with_tokens(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and TOKEN.search(shown(path))]


def test_a_token_that_the_service_quotes_is_hidden_in_every_file_and_on_the_screen(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60") as ready, quoting_service() as urls:
        names = write_targets(
            tmp_path, "".join(f"  {place}: {{url: '{url}', auth: managed_identity}}\n" for place, url in urls.items())
        )
        load = ("-u", "1", "--sessions", "2", "--targets", ",".join(urls), "--target-file", names, *EVERYTHING)
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **identity(ready))

    folder = only_run(tmp_path / "runs")
    sessions = pq.read_table(folder / "sessions.parquet").to_pandas()
    assert "ok" not in set(sessions["outcome"])
    for place, own in sessions.groupby("target"):
        logs = [(folder / "events" / f"{name}.jsonl").read_text() for name in own["session_id"]]
        assert len(logs) == 2
        assert all("***" in log for log in logs), place  # it was quoted
    assert set(sessions["target"]) == set(urls)
    assert not TOKEN.search(ended.stdout + ended.stderr)
    assert with_tokens(folder) == []


KEY = "a key/that+nobody may see".replace(" ", "-")
WAYS = {
    "basic": "url: '{url}', auth: basic, api_key_env: USER_AND_KEY",
    "query": "url: '{url}&apiKey=${{THE_KEY}}'",
    "offered": "url: '{url}', subprotocols: ['realtime', 'key.${{PLAIN_KEY}}']",
    "header": "url: '{url}', headers: {{X-Team-Key: '${{THE_KEY}}'}}",
}
SPELLINGS = (KEY, quote(KEY, safe=""), base64.b64encode(f"me:{KEY}".encode()).decode(), "a-key-that-nobody-may-see")


def test_a_key_is_hidden_however_it_is_sent(tmp_path: Path) -> None:
    with quoting_service() as urls:
        lines = (
            f"  {way}-{place}: {{{keys.format(url=url)}}}\n"
            for way, keys in WAYS.items()
            for place, url in urls.items()
        )
        names = write_targets(tmp_path, "".join(lines))
        arms = ",".join(f"{way}-{place}" for way in WAYS for place in urls)
        load = ("-u", "1", "--sessions", "1", "--targets", arms, "--target-file", names, *EVERYTHING)
        keys = {"THE_KEY": KEY, "USER_AND_KEY": f"me:{KEY}", "PLAIN_KEY": SPELLINGS[-1]}
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **keys)

    folder = only_run(tmp_path / "runs")
    sessions = pq.read_table(folder / "sessions.parquet").to_pandas()
    assert set(sessions["target"]) == set(arms.split(","))
    for name in sessions["session_id"]:
        assert "***" in (folder / "events" / f"{name}.jsonl").read_text()  # it was quoted
    for spelling in SPELLINGS:
        assert spelling not in ended.stdout + ended.stderr
        assert [path for path in tmp_path.rglob("*") if path.is_file() and spelling in shown(path)] == []


@pytest.mark.parametrize("options", [("doctor",), ("doctor", "--json"), ("probe", "--event-log", "probe.jsonl")])
def test_what_looks_at_a_service_closely_shows_no_token_either(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ""
    with quick_simulator(tmp_path, "--token-lifetime", "60") as ready, quoting_service() as urls:
        for url in urls.values():
            Path("probe.jsonl").unlink(missing_ok=True)
            ended = rtbench(*options, "--url", url, "--auth", "managed_identity", **identity(ready))

            said += ended.stdout + ended.stderr
            assert ended.returncode == 1, ended.stderr
            assert with_tokens(tmp_path) == []

    assert said.count("***") >= 2
    assert not TOKEN.search(said)
