"""The command that measures with recorded voices, for example `python -m benchmarks.voices
--split held-out`.
"""

import sys

from benchmarks.voices.benchmark import main

main(sys.argv[1:])
