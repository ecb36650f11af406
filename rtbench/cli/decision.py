"""The decision on a run at its end: `python -m rtbench.cli.decision FOLDER`. The process that leads
the run starts it.

This module finalizes the folder, writes decision.json, and prints the decision in one sentence.
Users run `rtbench check` instead.
"""

import sys
from pathlib import Path

from bench.base.errors import USAGE_STATUS, RtbenchError
from bench.base.standard_streams import print_notice
from bench.files.sanitize import one_line
from bench.record import presence
from reports.formatting import NBSP
from reports.pages.comparisons.interim import analyse_pairs
from reports.text.decision_sentences import decision_sentence
from rtbench.cli.report import close_if_left

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        close_if_left(folder, by_writer=presence.may_close(folder))
        decision = analyse_pairs(folder)
    except RtbenchError as error:
        print_notice(one_line(str(error)))
        sys.exit(USAGE_STATUS)
    print(decision_sentence(decision).replace(NBSP, " "))
    sys.exit(decision.exit_status)
