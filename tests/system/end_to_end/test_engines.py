"""Engines of Azure Load Testing execute one run in independent parts, which are uploaded and
merged.
"""

from __future__ import annotations

import csv
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.record import folder as files
from reports.api.many import load
from rtbench.azure_load_testing.folder import load_test_files
from rtbench.cli.start import write_starter
from tests.azure_engine import deploy, engine, engine_environment, imds, load_test
from tests.blob_server import BlobServer, blob_server
from tests.command_line import call
from tests.examples import trials
from tests.simulator_process import AUDIO, QUICK, Ready, running_simulator
from tests.system.end_to_end.locust_process import (
    ENDS_WELL,
    EXACT,
    GUARD_S,
    only_run,
    wait_until_turns_began,
)

ENGINES = trials(2, 10)
SESSIONS = trials(40, 60)
SHARE = (
    f"{20 // ENGINES} of 20 users, {SESSIONS // ENGINES} of {SESSIONS} sessions,"
    f" {50 / ENGINES:g} of 50 USD"
)
CALL = """
session: {output: audio, voice: alloy, turn_detection: {type: server_vad, silence_duration_ms: 300}}
steps:
  - {audio: ../audio/late_parcel.wav, name: late_parcel}
  - {audio: ../audio/order_number.wav, name: order_number}
"""
MEETING = """
import os
from pathlib import Path

import gevent


def meet(name):  # real engines do not share their cores: none starts or ends here while another one calls
    Path(name).touch()
    while len(list(Path("..").glob(f"*/{name}"))) < int(os.environ.get("ENGINES_THAT_MEET", "1")):
        gevent.sleep(0.05)


Caller.on_start = lambda self: meet("started")
Caller.on_stop = lambda self: meet("ended")
"""


@dataclass
class Cloud:
    """A folder for a load test, a simulated service that needs a token, and a container for
    uploads.
    """

    folder: Path
    ready: Ready
    server: BlobServer
    identity: dict[str, str]

    @property
    def test_file(self) -> Path:
        return self.folder / "test" / "load-test.yaml"

    @contextmanager
    def engine(self, name: str, *words: str, **changes: str) -> Iterator[Any]:
        folder = self.folder / "engines" / name
        deploy(self.test_file, folder)
        local = {
            "AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{self.ready.port}",
            "LOCUST_UPLOAD": self.server.url,
            "LOCUST_SESSION_PAUSE": "0.1",
            "LOCUST_RUN_TIME": "5m",  # a run of ten minutes would exclude a minute as its warm-up
        }
        environment = engine_environment(self.test_file, folder, self.identity, **local | changes)
        with engine(self.test_file, folder, environment, *words) as process:
            yield process

    def merge(self) -> dict[str, Any]:
        """Download the container, and merge its runs."""
        self.server.save(self.folder)
        ended = call("runs", "merge", self.folder / "container", "-o", self.folder / "merged")
        assert ended.exit_code in ENDS_WELL, ended.output
        return files.read_document(self.folder / "merged")


@contextmanager
def cloud(folder: Path, first_audio: str = "{p50: 700, p95: 1100}") -> Iterator[Cloud]:
    write_starter(folder / "test", load_test_files(None))
    wheel = next(
        name
        for name in load_test(folder / "test" / "load-test.yaml")["configurationFiles"]
        if "whl" in name
    )
    (folder / "test" / wheel).write_bytes(b"")  # installed before
    plan = folder / "test" / "locustfile.py"
    # this machine has fewer cores than there are engines
    plan.write_text(plan.read_text() + EXACT + MEETING)
    # the user's own call, a short one
    with zipfile.ZipFile(folder / "test" / "scenario.zip", "w") as archive:
        archive.writestr("scripts/voice_turns.yaml", CALL)
        for name in ("late_parcel.wav", "order_number.wav"):
            archive.write(AUDIO / name, f"audio/{name}")
    profile = folder / "profile.yaml"
    profile.write_text(
        QUICK.replace("first_audio: {p50: 20, p95: 40}", f"first_audio: {first_audio}")
    )
    with (
        running_simulator("--profile", str(profile), "--token-lifetime", "600") as ready,
        imds(ready) as identity,
        blob_server() as server,
    ):
        yield Cloud(folder, ready, server, identity)


def whole(parts: int, users: int, sessions: int) -> dict[str, str]:
    plan = f"parts={parts},users={users},sessions={sessions},budget=50"
    return {"LOCUST_USERS": str(users), "LOCUST_SPAWN_RATE": str(users), "LOCUST_WHOLE_RUN": plan}


def criterion_is_met(criterion: dict[str, str], stats: Path) -> bool:
    """Return whether a fail criterion of the form `name: p95(response_time_ms) > LIMIT` is met
    by Locust's table.
    """
    ((name, condition),) = criterion.items()
    aggregate, _, limit = condition.replace(" ", "").partition("(response_time_ms)>")
    with stats.open(encoding="utf-8") as table:
        (row,) = [row for row in csv.DictReader(table) if row["Name"] == name]
    return float(row[f"{aggregate[1:]}%"]) > float(limit)


def criterion(cloud_: Cloud) -> dict[str, str]:
    (named,) = [
        entry for entry in load_test(cloud_.test_file)["failureCriteria"] if isinstance(entry, dict)
    ]
    return named


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Return the cloud after several engines have executed their parts of a run."""
    with cloud(tmp_path_factory.mktemp("several")) as made, ExitStack() as engines:
        # the service divides the users of the test by its ten engines
        users = str(20 * 10 // ENGINES)
        shared = whole(ENGINES, 20, SESSIONS) | {"LOCUST_USERS": users, "LOCUST_SPAWN_RATE": users}
        shared["ENGINES_THAT_MEET"] = str(ENGINES)
        started = [
            engines.enter_context(made.engine(str(number), "--csv", "stats", **shared))
            for number in range(ENGINES)
        ]
        for process in started:
            output, errors = process.communicate(timeout=GUARD_S)
            assert process.returncode == 0, errors
            assert f"part of nightly-7: {SHARE} (1 of {ENGINES} equal parts)" in errors
            assert "no report here (it needs pandas, scipy, junitparser)" in output
        yield made


def test_several_engines_merge_into_a_run_like_one_with_the_sum_of_their_loads(
    several: Cloud,
) -> None:
    document = several.merge()

    assert set(document["validity"]["reasons"]) <= {"send_delay"}, (
        "other programs of this machine may cause only this"
    )
    assert document["missing_workers"] == []
    assert document["totals"]["sessions"] == {"ok": SESSIONS}
    assert document["totals"]["turns"] == {"ok": 2 * SESSIONS}
    assert len({part["worker_offset"] for part in document["parts"]}) == ENGINES
    assert (
        f"The parts sum up to the plan of the whole run: {ENGINES} parts, 20 users, {SESSIONS}"
        " sessions, 50 USD." in document["notices"]
    )
    assert document["targets"][0]["auth"] == "managed_identity"

    one = whole(1, 20, SESSIONS) | {
        "LOCUST_USERS": "200",
        "LOCUST_SPAWN_RATE": "200",
        "LOCUST_UPLOAD": "",
    }
    with several.engine("one", **one) as process:
        _, errors = process.communicate(timeout=GUARD_S)
        assert process.returncode == 0, errors
    single = only_run(several.folder / "engines" / "one" / "runs")
    assert call("report", single).exit_code in ENDS_WELL
    runs = [load(several.folder / "merged"), load(single)]
    merged, sum_of_loads = (run.quantiles("voice_to_voice", p=0.9).iloc[0] for run in runs)
    assert merged["n"] == sum_of_loads["n"] == 2 * SESSIONS
    if all(run.metadata["validity"]["status"] == "valid" for run in runs):
        assert merged["low"] <= sum_of_loads["high"]
        assert sum_of_loads["low"] <= merged["high"]


def test_a_criterion_on_voice_to_voice_fails_a_test_only_if_the_service_is_slow(
    several: Cloud, tmp_path: Path
) -> None:
    stats = several.folder / "engines" / "0" / "stats_stats.csv"
    # a busy machine delays a few turns
    limit = {next(iter(criterion(several))): "p50(response_time_ms) > 5000"}
    assert not criterion_is_met(limit, stats)
    with cloud(tmp_path, first_audio="{p50: 2500, p95: 2600}") as slow:
        given = whole(1, 1, 1) | {"LOCUST_USERS": "10", "LOCUST_SPAWN_RATE": "10"}
        with slow.engine("slow", "--csv", "stats", **given) as process:
            process.communicate(timeout=GUARD_S)
        assert criterion_is_met(criterion(slow), tmp_path / "engines" / "slow" / "stats_stats.csv")


def test_engines_that_are_killed_or_cannot_upload_are_missing(tmp_path: Path) -> None:
    """One engine is killed during its calls, and one when it had uploaded a part of its files."""
    with cloud(tmp_path) as made, blob_server() as full:
        full.answers.extend([201, *[503] * 8])
        given = whole(3, 3, 6)
        given |= {"LOCUST_USERS": "10", "LOCUST_SPAWN_RATE": "10"}  # of each engine: 1
        with (
            made.engine("a", **given) as whole_part,
            made.engine("b", **given) as killed,
            made.engine("c", **given | {"LOCUST_UPLOAD": full.url}) as cut,
        ):
            wait_until_turns_began(tmp_path / "engines" / "b" / "runs", 1)
            os.killpg(killed.pid, signal.SIGKILL)
            for process in (whole_part, cut):
                process.communicate(timeout=GUARD_S)
        assert len(full.puts) == 1
        full.save(tmp_path)
        document = made.merge()

    assert document["totals"]["turns"] == {"ok": 4}
    assert [entry["turns"] for entry in document["missing_workers"]] == [4, 4]
    assert document["validity"]["status"] == "invalid"
    assert any("(2 of 3 parts are missing)" in notice for notice in document["notices"])


def test_an_engine_whose_users_were_not_divided_makes_no_call(tmp_path: Path) -> None:
    with cloud(tmp_path) as made:
        given = whole(10, 20, 60) | {"LOCUST_USERS": "200"}
        with made.engine("a", **given) as process:
            _, errors = process.communicate(timeout=GUARD_S)

    assert process.returncode == 2
    assert "this run has 20 users, but one of 10 parts of 20 users has 2: set --users" in errors
    assert not (tmp_path / "engines" / "a" / "runs").exists()
