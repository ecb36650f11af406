"""The command that runs these clients, for example `python -m tools.benchmarks.peers --sessions
50,200`.
"""

import sys

from tools.benchmarks.peers.benchmark import main

main(sys.argv[1:])
