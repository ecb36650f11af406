"""Requests of the process that runs a load, each with a line of JSON as the response.

python -m reports.sequential plan JSON       the plan of a run that ends once it is decided, from the planned run
python -m reports.sequential look FOLDER     whether it may end now, and its analyses; exit 0 for any verdict
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.errors import USAGE_STATUS, UsageError


def analyse(folder: str) -> dict[str, Any]:
    """Return the result of an interim analysis. Raise UsageError for a run without a plan, or an unreadable one."""
    from reports.sequential.decide import analyse_pairs
    from reports.sequential.decision import decision_sentence

    decision = analyse_pairs(Path(folder))
    return {
        "stopped": decision.stopped,
        "exit_status": decision.exit_status,
        "sentence": decision_sentence(decision),
        "analysis": len(decision.result.analyses),
        "pairs": decision.used,
    }


if __name__ == "__main__":
    verb, asked = sys.argv[1:]
    try:
        if verb == "plan":
            from reports.sequential.plan import plan_analyses

            found = plan_analyses(json.loads(asked))
        else:
            found = analyse(asked)
        print(json.dumps(found, ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
