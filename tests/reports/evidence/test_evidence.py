"""The evidence for a service's support: it has every kind of failure, agrees with the report,
and has no secrets.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from reports.analysis.summary.summary import SharedResults
from reports.formatting import NBSP
from reports.pages.evidence.document import Evidence, evidence_json, evidence_of, write_evidence
from reports.pages.evidence.page import MUST_NOT, evidence_page
from reports.pages.run_report.document import summary_data
from tests.command_line import call_or_raise
from tests.reports import synthetic
from tests.reports.edited import Row
from tests.reports.evidence.examples import HEADERS, PLAN, built, outputs
from tests.reports.schema_problems import problems
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(summary_of(PLAN))


def test_results_are_those_of_the_report(evidence: Evidence) -> None:
    known = summary_data(summary_of(PLAN))
    made = json.loads(evidence_json(evidence))

    for key in set(SharedResults.__struct_fields__) - {"groups", "slowest", "outcomes"}:
        assert made[key] == known[key]
    assert made["groups"] == [of for of in known["groups"] if of["group"]["by"] == "context"]
    assert [{**slow, "event_log": None} for slow in known["slowest"]] == made["slowest"]
    for target, outcomes in made["outcomes"].items():
        assert {**outcomes, "service_message": None} == {
            **known["outcomes"][target],
            "service_message": None,
        }


def test_recorded_turns_are_excluded_or_counted() -> None:
    evidence = evidence_of(summary_of(replace(PLAN, warmup_s=4)))
    summary = evidence.summary
    excluded = {
        entry.reason: entry.turns or 0
        for entry in evidence.document.exclusions
        if not entry.included
    }
    ended = sum(
        known.turns_planned - known.turns_not_started for known in summary.outcomes.values()
    )

    assert excluded["warm_up"] > 0
    assert excluded["unfinished"] == 2
    assert len(summary.run.turns) == sum(excluded.values()) + ended


def test_faults_of_the_load_generator_are_counted_but_not_listed(tmp_path: Path) -> None:
    def turns(index: int, row: Row) -> Row:
        own = {"outcome": "failed:load_generator", "cause": "KeyError: a caller's name"}
        return row | (
            own if index < 5 else {"outcome": "starved"} if index < 7 else {"outcome": "ok"}
        )

    made = evidence_of(built(tmp_path, Plan(), turns))
    entries = {entry.reason: entry for entry in made.document.exclusions}
    text = outputs(made)

    assert made.document.failures.total == 0
    assert (entries["load_generator"].turns, entries["load_generator"].included) == (5, True)
    assert (entries["starved"].turns, entries["starved"].included) == (2, False)
    assert entries["unfinished"].turns == 0
    assert "5 turns and 0 sessions failed because of our client" in text["terminal"]
    assert not any(
        "caller's name" in output or "caller&#39;s name" in output for output in text.values()
    )


def test_failures_by_context_length_are_those_of_the_report(tmp_path: Path) -> None:
    def turns(_: int, row: Row) -> Row:
        tokens = 1_500 * row["turn"]
        return row | {"context_tokens": tokens, "outcome": "failed:x" if tokens > 6_000 else "ok"}

    made = evidence_of(built(tmp_path, Plan(sessions=40, turns=8), turns))

    assert [
        (of.group.name, of.count, of.n)
        for of in made.document.groups
        if of.group and of.statistic == "rate"
    ] == [
        ("to 2k", 0, 40),
        ("2k to 4k", 0, 40),
        ("4k to 8k", 40, 120),
        ("8k to 16k", 120, 120),
    ]
    assert all(
        entry.context_tokens and entry.context_tokens > 6_000
        for entry in made.document.failures.listed
    )
    assert "33.3 % of the turns failed with 4k to 8k tokens and 0 % with fewer." in outputs(made)[
        "markdown"
    ].replace(NBSP, " ")


def test_missing_data_of_our_side_is_stated(tmp_path: Path) -> None:
    workers = [{"worker": 1, "host": "b", "turns": 57}, {"worker": 2, "host": "c", "turns": None}]
    parts = [{"run_id": "x", "excluded_because": "damaged", "sessions": 4, "turns": 31}]
    summary = built(tmp_path, Plan(), missing_workers=workers, parts=parts)
    entries = {entry.reason: entry for entry in evidence_of(summary).document.exclusions}

    assert (entries["missing_workers"].turns, entries["missing_workers"].note) == (
        None,
        "2 missing",
    )
    assert (entries["parts"].turns, entries["parts"].sessions) == (31, 4)
    assert re.search(r"missing workers.*\| unknown \|", outputs(evidence_of(summary))["markdown"])


@pytest.mark.parametrize("valid", [False, None])
def test_a_run_that_is_not_valid_begins_with_what_it_must_not_be_used_for(
    valid: bool | None,
) -> None:
    made = evidence_of(summary_of(Plan(valid=valid, failed=0.3)))
    text = outputs(made)

    assert made.document.validity.status == ("invalid" if valid is False else "no_verdict")
    for name in ("html", "markdown", "terminal"):
        assert MUST_NOT in text[name]
        assert text[name].index(MUST_NOT) < text[name].index("failure")
    assert ("limit 10" in text["markdown"].split("What was measured")[0]) == (valid is False)


def test_a_valid_run_may_be_used_and_a_simulated_one_is_marked() -> None:
    simulated, real = (
        outputs(evidence_of(summary_of(Plan(simulated=marked)))) for marked in (True, False)
    )

    for name in ("html", "markdown", "terminal"):
        assert MUST_NOT not in simulated[name]
        assert "SIMULATED" in simulated[name]
        assert "SIMULATED" not in real[name]


def test_the_slowest_turns_have_their_ids_if_nothing_failed() -> None:
    made = evidence_of(summary_of(Plan()))
    slowest = made.document.slowest[0]
    section = next(section for section in evidence_page(made).sections if section.anchor == "slow")

    assert not section.folded
    for name in ("html", "markdown", "json"):
        assert slowest.response in outputs(made)[name]
        assert slowest.service_session in outputs(made)[name]
    assert "No turn and no session failed." in outputs(made)["markdown"]


SECRETS = (
    "sk-live-51aB3dE5fG7hI9jK",
    "Zm9vOmJhcjEyMzQ1Njc4OQ",
    "sigAbC123dEf456",
    "TOPSECRET",
    "the caller's own words",
)


def with_secrets(_: int, row: Row) -> Row:
    """Return a row whose texts contain credentials, transcripts and settings."""
    detail = (
        f"HTTP 401: key {SECRETS[0]} is wrong; Authorization: Bearer {SECRETS[1]}; see "
        f"https://x.blob.core.windows.net/a?sig={SECRETS[2]}&se=1"
    )
    headers = HEADERS | {
        "set-cookie": f"session={SECRETS[3]}",
        "api-key": SECRETS[3],
        "x-unknown": SECRETS[3],
    }
    headers["traceparent"] = f"Bearer {SECRETS[1]}"
    told = {
        **{
            "cause": detail,
            "close_reason": detail,
            "request_id": SECRETS[0],
            "response_headers": json.dumps(headers),
        },
        **{
            "response_id": SECRETS[0],
            "service_session_id": f"https://user:{SECRETS[3]}@host",
            "region": SECRETS[0],
        },
        **{"effective_settings": json.dumps({"instructions": SECRETS[4]})},
    }
    words = (
        {"outcome": "wrong_function_call", "cause": SECRETS[4]}
        if row["session_id"] == "s00001"
        else {}
    )
    return row | {name: value for name, value in (told | words).items() if name in row}


def test_no_output_contains_a_secret_or_words_of_a_conversation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    targets = [
        {
            "name": "sim",
            "url": (
                f"wss://user:{SECRETS[3]}@host.example:444/"
                f"{SECRETS[3]}?api-version=2025-04-01-preview"
            ),
        }
        | {
            "dialect": "ga",
            "service": "other",
            "loopback": False,
            "proxy": f"http://{SECRETS[3]}@proxy",
        }
        | {"session": {"instructions": SECRETS[4]}}
    ]
    settings = {
        "settings": {"secret": SECRETS[3]},
        "command": ["rtbench", "--header", SECRETS[3]],
        "targets": targets,
    }
    made = evidence_of(
        built(run, Plan(failed=0.3, refused=2), with_secrets, with_secrets, **settings)
    )
    (run / "transcripts.jsonl").write_text(
        json.dumps({"input_text": SECRETS[4]}) + "\n", encoding="utf-8"
    )
    write_evidence(made, evidence_page(made))
    files = {path.name: path.read_text(encoding="utf-8") for path in run.glob("evidence.*")}

    assert set(files) == {"evidence.html", "evidence.md", "evidence.json"}
    assert any("***" in entry.message for entry in made.document.failures.listed)
    (endpoint,) = made.document.endpoints
    assert (endpoint.host, endpoint.api_version) == ("host.example:444", "2025-04-01-preview")
    for name, text in (files | outputs(made)).items():
        assert [
            secret for secret in SECRETS if secret in text or secret.replace("'", "&#39;") in text
        ] == [], name


NASTY = (
    "no\x1b[2J\x00 \n::set-output name=a::b\r\n##vso[task.complete result=Ok;]\u2028##[error]\u202e"
    " a_b <b> |\x85"
)
SAID = (
    "cause",
    "close_reason",
    "model",
    "region",
    "request_id",
    "response_id",
    "service_session_id",
)


def with_hostile_text(_: int, row: Row) -> Row:
    bad = {} if str(row["outcome"]) in ("ok", "unfinished") else {"outcome": f"failed:{NASTY}"}
    headers = (
        {"response_headers": json.dumps({"x-request-id": NASTY, "cf-ray": NASTY})}
        if "region" in row
        else {}
    )
    return row | {name: NASTY for name in SAID if name in row} | bad | headers


def test_hostile_texts_of_a_service_are_escaped(tmp_path: Path) -> None:
    texts = outputs(
        evidence_of(
            built(
                tmp_path,
                Plan(sessions=30, failed=0.2, refused=2),
                with_hostile_text,
                with_hostile_text,
            )
        )
    )

    for name, text in texts.items():
        assert r"no\x1b[2J" in text or r"no\\x1b" in text, name
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text
        ), name
        assert not [line for line in text.splitlines() if re.match(r"\s*::[A-Za-z]", line)], name
        assert "##vso[" not in text, name
    assert "<b> |" not in texts["html"]
    assert "a_b <b>" not in texts["markdown"].replace("`", "")


@pytest.mark.parametrize(
    "plan",
    [Plan(sessions=0), Plan(text=True, simulated=False, warmup_s=10), PLAN, Plan(failed=1.0)],
)
def test_evidence_of_any_run_matches_its_schema(plan: Plan) -> None:
    made = evidence_of(summary_of(plan))

    assert problems("evidence", json.loads(evidence_json(made))) == []
    assert all(outputs(made).values())


def test_the_command_writes_three_files_and_prints_their_paths(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path / "run", PLAN)
    status, output = call_or_raise("report", run, "--evidence")

    assert status == 0
    assert output.splitlines()[-3:] == [
        str(run / f"evidence.{form}") for form in ("json", "md", "html")
    ]
    assert all((run / f"evidence.{form}").stat().st_size for form in ("json", "md", "html"))
    assert not (run / "report.html").exists()


def test_evidence_of_several_runs_is_refused(tmp_path: Path) -> None:
    runs = [synthetic.write(tmp_path / name, Plan()) for name in "ab"]

    with pytest.raises(UsageError, match="a report is about one run"):
        call_or_raise("report", *runs, "--evidence")
