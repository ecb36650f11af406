"""A check as JUnit XML, which CI systems show as tests."""

import io
import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from reports.analysis.check.results import CheckResult
from reports.engine.judge import Judged
from reports.formatting import breakable
from reports.text.check_sentences import (
    check_headline,
    explanations,
    notices,
    result_sentence,
)
from reports.text.reasons import reason_line

ALL_INVALID = "not evaluated: the property `reason` of the suite states why"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 does not allow."""


def junit_xml(checked: CheckResult) -> str:
    """Return the text of the JUnit XML file.

    A failed threshold is a failure. An inconclusive threshold is a failure, or is skipped if
    `--on-inconclusive` is not `fail`. An invalid threshold, or one that was not evaluated, is an
    error. What concerns all thresholds is in the properties of the suite. Its time is that for
    which the service was observed.
    """
    suite = TestSuite("rtbench check")
    suite.add_property("result", checked.result)
    suite.add_property("headline", _plain(check_headline(checked)))
    suite.add_property("run", _plain(checked.run_id))
    suite.add_property("simulated", "yes" if checked.simulated else "no")
    suite.add_property("recorded", "yes" if checked.recorded else "no")
    reasons = [*map(reason_line, checked.validity.reasons)]
    shared = {"reason": reasons, "notice": notices(checked), "explanation": explanations(checked)}
    for name, texts in shared.items():
        for text in texts:
            suite.add_property(name, _plain(text))
    invalid = ALL_INVALID if reasons else ""
    if not checked.thresholds:
        _add(suite, "run", checked.scenario, [Error(invalid or "nothing was checked", "invalid")])
    for item in checked.thresholds:
        name = f"{item.threshold} [{item.target}, {item.title}]"
        _add(suite, name, checked.scenario, _results(item, checked, invalid))
    return _text(suite, checked.observed_s)


def junit_refusal(error: str) -> str:
    """Return the text of the JUnit XML file after a user error, which prevented the check."""
    suite = TestSuite("rtbench check")
    _add(suite, "run", "check", [Error(_plain(error), "usage")])
    return _text(suite)


def _text(suite: TestSuite, time_s: float = 0.0) -> str:
    document = JUnitXml("rtbench")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    suite.time = document.time = time_s  # the cases have no times to add up
    buffer = io.BytesIO()
    document.write(buffer, pretty=True)
    return buffer.getvalue().decode()


def _add(suite: TestSuite, name: str, scenario: str, results: list[FinalResult]) -> None:
    case = TestCase(_plain(name), classname=f"rtbench.{_plain(scenario)}")
    case.result = results
    suite.add_testcase(case)


def _results(item: Judged, checked: CheckResult, invalid: str) -> list[FinalResult]:
    text = _plain(result_sentence(item))
    if invalid or item.result == "not_evaluated":
        return [Error(invalid or text, "invalid")]
    if item.result == "fail":
        return [Failure(text, item.verdict.name)]
    if item.result == "inconclusive":
        return [
            (
                Failure(text, item.result)
                if checked.on_inconclusive == "fail"
                else Skipped(text, item.result)
            )
        ]
    return []


def _plain(text: str) -> str:
    return _NO_XML.sub("�", breakable(text))
