"""The command that runs these clients, for example `python -m benchmarks.peers --sessions
50,200`.
"""

import sys

from benchmarks.peers.benchmark import main

main(sys.argv[1:])
