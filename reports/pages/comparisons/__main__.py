"""The commands for interim analyses. The process that runs a load starts them, and gets one line of
JSON.

python -m reports.pages.comparisons plan JSON         plan the interim analyses of a run python -m
reports.pages.comparisons analyse FOLDER    analyse a run, and decide whether it may end now; exit 0
for any verdict
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench.base.errors import USAGE_STATUS, UsageError


def plan(request: str) -> dict[str, Any]:
    """Return the plan in the form that run.json stores. Raise UsageError if the run cannot have
    one.
    """
    from reports.analysis.sequential.plan import plan_analyses
    from reports.formatting import breakable
    from reports.text.reasons import reason_text

    planned, reasons = plan_analyses(json.loads(request))
    notices = [breakable(reason_text(reason)) for reason in reasons]
    return {**planned, "notices": notices} if notices else {**planned}


def analyse(folder: str) -> dict[str, Any]:
    """Return the result of an interim analysis of a run. Raise UsageError if the run has no
    plan, or cannot be read.
    """
    from reports.pages.comparisons.interim import analyse_pairs
    from reports.text.decision_sentences import decision_sentence

    decision = analyse_pairs(Path(folder))
    return {
        "stopped": decision.stopped,
        "exit_status": decision.exit_status,
        "sentence": decision_sentence(decision),
        "analysis": len(decision.analyses),
        "pairs": decision.pairs,
    }


if __name__ == "__main__":
    verb, argument = sys.argv[1:]
    try:
        print(json.dumps((plan if verb == "plan" else analyse)(argument), ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
