"""`python -m tests.benchmark.peers --sessions 50,200`: the peers alone, with options."""

import sys

from tests.benchmark.peers.benchmark import main

main(sys.argv[1:])
