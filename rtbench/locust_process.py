"""The process of a run that a command starts: `python -m rtbench.locust_process OPTIONS`.

The options are those of `locust`. The Locust files need not import `rtbench`: that of YAML scripts
does not.
"""

import runpy

from bench.transport.gevent_patch import patch_all

if __name__ == "__main__":
    patch_all()
    from bench.load.runners import locust_events
    from rtbench.evaluation import EVALUATION

    locust_events.register(EVALUATION)
    runpy.run_module("locust", run_name="__main__", alter_sys=True)
