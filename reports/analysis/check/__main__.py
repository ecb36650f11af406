"""A command for the process that runs a load. It answers with one line of JSON.

python -m reports.analysis.check JSON       return the thresholds of a planned run, which JSON describes
"""

from __future__ import annotations

import json
import sys

from bench.base.errors import USAGE_STATUS, UsageError

if __name__ == "__main__":
    from reports.analysis.check.plan import planned_thresholds

    try:
        print(json.dumps(planned_thresholds(json.loads(sys.argv[1])), ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
