"""`make benchmark`: our own figures, against the simulator's truth and beside other clients. Takes an hour or so;
figures need a quiet machine. Parts by name: `make benchmark PARTS="peers cost"`."""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = {
    "first": "tests.benchmark.first",
    "truth": "tests.benchmark.truth",
    "talking": "tests.benchmark.talking",
    "onsets": "tests.benchmark.onsets",
    "calls": "tests.benchmark.calls",
    "validity": "tests.benchmark.validity",
    "crowd": "tests.benchmark.crowd",
    "arrivals": "tests.benchmark.arrivals",
    "capacity": "tests.benchmark.capacity",
    "hosts": "tests.benchmark.hosts",
    "chaos": "tests.benchmark.chaos",
    "master": "tests.benchmark.master",
    "exact": "tests.benchmark.exact",
    "conversations": "tests.benchmark.conversations",
    "kill": "tests.benchmark.kill",
    "soak": "tests.benchmark.soak",
    "keyless": "tests.benchmark.keyless",
    "agents": "tests.benchmark.agents.benchmark",
    "words": "tests.benchmark.agents.words",
    "frameworks": "tests.benchmark.frameworks",
    "peers": "tests.benchmark.peers.benchmark",
    "cost": "tests.benchmark.cost",
    "sending": "tests.benchmark.sending",
    "recording": "tests.benchmark.recording",
    "telemetry": "tests.benchmark.telemetry",
    "processes": "tests.benchmark.processes",
    "memory": "tests.benchmark.memory",
    "simulator": "tests.benchmark.simulator",
    "startup": "tests.benchmark.startup",
    "million": "tests.benchmark.million",
    "sequential": "tests.benchmark.sequential",
    "statistics": "tests.benchmark.statistics_errors",
    "gate": "tests.benchmark.gate",
}

if unknown := [name for name in sys.argv[1:] if name not in PARTS]:
    sys.exit(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
for name in sys.argv[1:] or PARTS:
    print(f"== {name}", flush=True)
    import_module(PARTS[name]).main()
