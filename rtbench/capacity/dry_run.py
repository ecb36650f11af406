"""The process of a forecast: `python -m rtbench.capacity.dry_run OPTIONS`, with those of `locust`.

`bench.load.runners.dry_run` has what it prints.
"""

from bench.load.runners import dry_run
from rtbench.evaluation import EVALUATION

if __name__ == "__main__":
    dry_run.main(EVALUATION)
