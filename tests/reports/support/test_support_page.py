"""The page of the failed and the slow turns for a service's support: it has no secrets, and says
first if the run is not valid.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from msgspec import structs

from reports.formatting import NBSP
from reports.pages.run_report.support import MUST_NOT, support_page, write_support_page
from tests.command_line import call_or_raise
from tests.reports import synthetic
from tests.reports.edited import Row
from tests.reports.shared import summary_of
from tests.reports.support.examples import HEADERS, PLAN, built, outputs
from tests.reports.synthetic import Plan


def test_faults_of_the_load_generator_are_counted_but_not_listed(tmp_path: Path) -> None:
    def turns(index: int, row: Row) -> Row:
        own = {"outcome": "failed:load_generator", "cause": "KeyError: a caller's name"}
        return row | (
            own if index < 5 else {"outcome": "starved"} if index < 7 else {"outcome": "ok"}
        )

    summary = built(tmp_path, Plan(), turns)
    text = outputs(summary)

    assert summary.failures.total == 0
    assert "5 turns failed because of our client, and are not listed" in text["markdown"]
    assert not any(
        "caller's name" in output or "caller&#39;s name" in output for output in text.values()
    )


@pytest.mark.parametrize("valid", [False, None])
def test_a_run_that_is_not_valid_begins_with_what_it_must_not_be_used_for(
    valid: bool | None,
) -> None:
    text = outputs(summary_of(Plan(valid=valid, failed=0.3)))

    for name in ("html", "markdown", "terminal"):
        assert MUST_NOT in text[name]
        assert text[name].index(MUST_NOT) < text[name].index("127.0.0.1:8765")
    assert ("limit 10" in text["markdown"].split("Endpoints")[0]) == (valid is False)


def test_a_valid_run_may_be_used_and_a_simulated_one_is_marked() -> None:
    simulated, real = (outputs(summary_of(Plan(simulated=marked))) for marked in (True, False))

    for name in ("html", "markdown", "terminal"):
        assert MUST_NOT not in simulated[name]
        assert "SIMULATED" in simulated[name]
        assert "SIMULATED" not in real[name]


def test_the_slowest_turns_have_their_ids_if_nothing_failed() -> None:
    summary = summary_of(Plan())
    slowest = summary.slowest[0]

    for text in outputs(summary).values():
        assert slowest.response in text
        assert slowest.service_session in text
        assert "0 of 40 planned turns failed" in text.replace(NBSP, " ")


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
    made = built(run, Plan(failed=0.3, refused=2), with_secrets, with_secrets, **settings)
    (run / "transcripts.jsonl").write_text(
        json.dumps({"input_text": SECRETS[4]}) + "\n", encoding="utf-8"
    )
    for part in ("failed", "slow"):
        write_support_page(made, support_page(made, part), part)
    files = {path.name: path.read_text(encoding="utf-8") for path in run.glob("report-*")}

    assert len(files) == 4
    assert any("***" in entry.message for entry in made.failures.listed)
    for text in files.values():
        assert "host.example:444" in text
        assert "2025-04-01-preview" in text
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
        built(
            tmp_path,
            Plan(sessions=30, failed=0.2, refused=2),
            with_hostile_text,
            with_hostile_text,
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
def test_any_run_has_a_page(plan: Plan) -> None:
    assert all(outputs(summary_of(plan)).values())


def test_the_command_prints_the_turns_and_writes_two_files(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path / "run", PLAN)
    _, output = call_or_raise("report", run, "--only", "failed")
    (example, *_) = summary_of(PLAN).failures.examples

    assert example.response in output
    assert "Slowest turns" not in (run / "report-failed.md").read_text(encoding="utf-8")
    assert output.splitlines()[-2:] == [
        str(run / f"report-failed.{form}") for form in ("md", "html")
    ]
    assert not (run / "report.html").exists()


def test_an_event_log_stays_in_the_folder_of_the_run() -> None:
    summary = summary_of(Plan(failed=0.3))
    (first, *_) = summary.failures.examples
    logged = structs.replace(first, event_log="events/a.jsonl")
    listed = structs.replace(summary.failures, examples=(logged,))

    assert not any(
        "events/a.jsonl" in text
        for text in outputs(structs.replace(summary, failures=listed)).values()
    )
