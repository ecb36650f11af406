"""The command that measures with recorded voices, for example `python -m tools.benchmarks.voices
--split held-out`.
"""

import sys

from tools.benchmarks.voices.offline import main

main(sys.argv[1:])
