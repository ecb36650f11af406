"""The measurements that the documents quote (`make benchmark`): accuracy, cost, error rates, and
other clients.

All parts take several hours on a machine that does nothing else. `make benchmark PARTS="peers
cost"` runs some of them.
"""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = {
    "onsets": "onsets",
    "calls": "calls",
    "recorded_calls": "recorded_calls",
    "telephone": "telephone",
    "profiles": "simulated_profiles",
    "capacity": "capacity",
    "words": "agents_words",
    "peers": "peers.benchmark",
    "cost": "cost",
    "voice": "voice",
    "voices": "voices.offline",
    "memory": "memory",
    "sequential": "sequential",
    "statistics": "statistics_errors",
    "aborts": "aborts",
    "events": "events",
}

if unknown := [name for name in sys.argv[1:] if name not in PARTS]:
    sys.exit(f"unknown part: {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
for name in sys.argv[1:] or PARTS:
    print(f"== {name}", flush=True)
    import_module(f"tools.benchmarks.{PARTS[name]}").main()
