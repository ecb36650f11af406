"""A command for the process that runs a load. It answers with one line of JSON.

python -m reports.pages.check JSON       return the thresholds of a planned run, which JSON describes
"""

from __future__ import annotations

import json
import sys

from bench.base.errors import USAGE_STATUS, UsageError

if __name__ == "__main__":
    from reports.analysis.check.check import planned_thresholds
    from reports.pages.check.document import requested_files

    try:
        request = json.loads(sys.argv[1])
        requested_files(request["write"])
        print(json.dumps(planned_thresholds(request), ensure_ascii=False))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE_STATUS)
