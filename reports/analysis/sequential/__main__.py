"""The commands of this process. The process that runs a load starts it, and gets one line of JSON as the response.

python -m reports.analysis.sequential plan JSON       plan the interim analyses of a run python -m
reports.analysis.sequential look FOLDER     analyse a run, and decide whether it may end now; exit 0 for any verdict
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.base.errors import USAGE_STATUS, UsageError


def analyse(folder: str) -> dict[str, Any]:
    """Return the result of an interim analysis of a run. Raise UsageError if the run has no plan, or cannot be read."""
    from reports.analysis.sequential.decide import analyse_pairs
    from reports.analysis.sequential.decision import decision_sentence

    decision = analyse_pairs(Path(folder))
    return {
        "stopped": decision.stopped,
        "exit_status": decision.exit_status,
        "sentence": decision_sentence(decision),
        "analysis": len(decision.result.analyses),
        "pairs": decision.used,
    }


if __name__ == "__main__":
    verb, argument = sys.argv[1:]
    try:
        if verb == "plan":
            from reports.analysis.sequential.plan import plan_analyses

            result = plan_analyses(json.loads(argument))
        else:
            result = analyse(argument)
        print(json.dumps(result, ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
