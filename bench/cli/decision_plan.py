"""`python -m bench.cli.decision_plan JSON`: the plan of a run that ends once it is decided, for who runs it.

It stands between the load, which knows no thresholds, and the reports, which know no load. Asked is with `measure` (the
main one), `turns` of a session, `pairs` at most, `every` so many a look, and `thresholds`, a file or null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.errors import USAGE_STATUS, UsageError
from reports.gate.thresholds import Threshold, parse, read
from reports.statistics.looks import SPENDING, first_look, plan

LEVEL, DRAWS = 0.05, 2_000
DEFAULT = {"p(50)": "<+10%", "p(95)": "<+20%"}
"""Of the main measure."""
DEFAULT_FAILURES = "rate<+1pt"


def planned(asked: dict[str, Any]) -> dict[str, Any]:
    """As run.json holds it. Raises UsageError where the file cannot be used, or has no relative threshold."""
    gates = _gates(asked["thresholds"], asked["measure"])
    ps = [gate.p for gate in gates if gate.p is not None]
    first = first_look([max(p, 1 - p) for p in ps], asked["turns"], asked["every"])
    texts: dict[str, list[str]] = {}
    for gate in gates:
        texts.setdefault(gate.written.removesuffix(f": {gate.text}"), []).append(gate.text)
    return {
        "pairs": asked["pairs"],
        "looks": list(plan(asked["pairs"], asked["every"], first)),
        "gates": texts,
        "level": LEVEL,
        "spending": SPENDING,
        "draws": DRAWS,
    }


def _gates(file: str | None, measure: str) -> list[Threshold]:
    """Thresholds against the baseline; those with a limit of their own are left for `rtbench check`."""
    if file is None:
        return [*(parse(measure, p + margin) for p, margin in DEFAULT.items()), parse("failures", DEFAULT_FAILURES)]
    gates = [threshold for threshold in read(Path(file)) if threshold.margin is not None]
    if not gates:
        raise UsageError(f'{file} has no relative threshold, such as ttfa: ["p(95)<+20%"]: nothing there to decide')
    return gates


if __name__ == "__main__":
    try:
        print(json.dumps(planned(json.loads(sys.argv[1]))))
    except UsageError as error:
        print(f"rtbench: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
