"""JUnit XML of a check: a case for each threshold and target, which every CI system shows."""

from __future__ import annotations

import io
import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from reports.gate.items import Checked, Item
from reports.gate.sentences import remarks, said
from reports.numbers import NBSP

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write; labels are anyone's."""


def xml(checked: Checked) -> str:
    """The file's text. Broken: a failure; inconclusive: one or skipped; what says nothing: an error, in every case."""
    suite = TestSuite("rtbench check")
    suite.add_property("run", _plain(checked.run_id))
    suite.add_property("simulated", "yes" if checked.simulated else "no")
    void = " ".join(remarks(checked)) if checked.void or checked.differs else ""
    if not checked.items:
        suite.add_testcase(_case("run", checked, [Error(_plain(void or "nothing was checked"), "invalid")]))
    for item in checked.items:
        suite.add_testcase(
            _case(f"{item.threshold} [{item.target}, {item.figure}]", checked, _results(item, checked, void))
        )
    return _text(suite)


def refusal(error: str) -> str:
    """The file's text where nothing was checked, for it cannot be asked so: one error."""
    suite, case = TestSuite("rtbench check"), TestCase("run", classname="rtbench.check", time=0.0)
    case.result = [Error(_plain(error), "usage")]
    suite.add_testcase(case)
    return _text(suite)


def _text(suite: TestSuite) -> str:
    whole = JUnitXml("rtbench")
    whole.add_testsuite(suite)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    found = io.BytesIO()
    whole.write(found, pretty=True)
    return found.getvalue().decode()


def _case(name: str, checked: Checked, results: list[FinalResult]) -> TestCase:
    case = TestCase(_plain(name), classname=f"rtbench.{_plain(checked.scenario)}", time=0.0)
    case.result = results
    return case


def _results(item: Item, checked: Checked, void: str) -> list[FinalResult]:
    text = _plain(said(item))
    if void or item.grade == "void":
        return [Error(_plain(void) or text, "invalid")]
    if item.grade == "failed":
        return [Failure(text, item.word)]
    if item.grade == "unsure":
        return [Failure(text, item.word) if checked.on_inconclusive == "fail" else Skipped(text, item.word)]
    return []


def _plain(text: str) -> str:
    return _NO_XML.sub("�", text.replace(NBSP, " "))
