"""`python -m benchmarks.peers --sessions 50,200` runs only these clients, with options."""

import sys

from benchmarks.peers.benchmark import main

main(sys.argv[1:])
