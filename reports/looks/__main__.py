"""`python -m reports.looks FOLDER`: a line of JSON for the process that runs the load; exit 0 whatever the verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.errors import USAGE_STATUS, UsageError
from reports.looks.decide import look_at
from reports.looks.text import sentence


def main(folder: Path) -> None:
    """Print whether the run may stop, and where its looks are."""
    decision = look_at(folder)
    line = {
        "stopped": decision.stopped,
        "status": decision.status,
        "sentence": sentence(decision),
        "look": len(decision.course.looks),
        "pairs": decision.used,
    }
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
