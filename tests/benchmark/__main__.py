"""`make benchmark`: our own figures against the simulator's truth. Takes minutes; figures need a quiet machine."""

from __future__ import annotations

import sys

from tests.benchmark import cost, keyless, million, talking, truth, validity

BENCHMARKS = {
    "truth": truth.main,
    "talking": talking.main,
    "validity": validity.main,
    "keyless": keyless.main,
    "cost": cost.main,
    "million": million.main,
}

for name in sys.argv[1:] or BENCHMARKS:
    print(f"== {name}", flush=True)
    BENCHMARKS[name]()
