"""The commands for the thresholds of a run. The process that runs a load starts them, and gets one
line of JSON.

python -m reports.pages.check plan JSON             return the thresholds of a planned run, which
JSON describes python -m reports.pages.check analyse FOLDER JSON   return whether thresholds with
`abort` stop the run in FOLDER, which continues. JSON has the analyses that were `made` before, and
the `share` of the run that is over.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench.base.errors import USAGE_STATUS, UsageError


def plan(request: str) -> dict[str, Any]:
    """Return the thresholds by metric, and the plan of `abort`, as run.json stores both."""
    from reports.analysis.check.abort import plan_abort
    from reports.analysis.check.check import planned_thresholds
    from reports.metrics.thresholds import by_metric
    from reports.pages.check.document import requested_files

    planned = json.loads(request)
    requested_files(planned["write"])
    thresholds = planned_thresholds(planned)
    return {"thresholds": by_metric(thresholds), "abort": plan_abort(thresholds)}


def analyse(folder: str, request: str) -> dict[str, Any]:
    """Return the number of sessions of an analysis, the reason to stop the run, and its
    sentence; "" to continue.
    """
    from reports.analysis.check import abort
    from reports.data.runs import load_for_report
    from reports.formatting import breakable
    from reports.text.reasons import reason_text

    analysis = abort.analyse(load_for_report(Path(folder)), **json.loads(request))
    reason = analysis.reason and {"code": analysis.reason.code, "numbers": analysis.reason.numbers}
    sentence = breakable(reason_text(analysis.reason))
    return {"sessions": analysis.sessions, "reason": reason, "sentence": sentence}


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    try:
        print(json.dumps((plan if verb == "plan" else analyse)(*arguments), ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
