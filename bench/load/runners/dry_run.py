"""A forecast of a session of a Locust file, before any run: `python -m rtbench.capacity.dry_run
OPTIONS`.

The options are those of `locust`. The module prints one line of JSON with these keys:

- `scenario` is the name of the run.
- `targets` contains, for each target, its `name`, its `url`, `loopback`, which is true if it is on
  this machine, and `max_calls`, which is the number of calls at the same time that its ports for
  RTP permit; null for other targets.
- `session_s` is the duration of speech and pauses in the longest session, in seconds.
- `call_s` is the lower bound of the duration of the longest session with its replies, in seconds,
  as in the cost estimate; 0 if it is unknown.
- `session_usd` is the lower and upper bound of the cost of one session with each target, in total;
  null if unknown.
- `cost` is this estimate as text.
- `connect_rate` is the lowest limit of new connections per minute; null if there is no limit.
- `notices` are the notices about the targets.
- `lacking` is what can never be measured, as in `bench.load.planning.lacking`.

If there is a problem that the user must fix, the exit status is 2, and stderr contains one line.
"""

import json
import sys
from typing import Any

from locust.argument_parser import get_parser, parse_locustfile_option
from locust.env import Environment
from locust.main import get_locustfiles_locally, merge_locustfiles_content

from bench.base.errors import USAGE_STATUS, RtbenchError
from bench.base.units import S_PER_MINUTE
from bench.files.sanitize import one_line
from bench.load.planning.cost_estimate import LOW, estimate, estimate_text, session_minutes
from bench.load.planning.run_plan import RunPlan, plan_run, session_s
from bench.load.planning.workload import drop_classes_without_tasks
from bench.load.runners import locust_events
from bench.load.runners.evaluation import Evaluation


def dry_run(plan: RunPlan) -> dict[str, Any]:
    costs = plan.session_costs
    bounded = [script for script in plan.scripts if script.turns_planned is not None]
    return {
        "scenario": plan.scenario,
        "targets": [
            {
                "name": target.label,
                "url": target.public_url,
                "loopback": target.loopback,
                "max_calls": len(target.network_path.rtp_ports) if target.link.has_media else None,
            }
            for target in plan.targets
        ],
        "session_s": session_s(plan.scripts),
        "call_s": max(
            (S_PER_MINUTE * session_minutes(script, LOW) for script in bounded), default=0.0
        ),
        "session_usd": estimate(costs, 1),
        "cost": estimate_text(costs, None),
        "connect_rate": min((rate for rate in plan.connect_rates if rate), default=None),
        "lacking": plan.missing_features,
        "notices": [notice for target in plan.targets for notice in target.notices],
    }


def main(evaluation: Evaluation) -> None:
    locust_events.register(evaluation)
    classes, _, _, shape = merge_locustfiles_content(
        get_locustfiles_locally(parse_locustfile_option())
    )
    options = get_parser().parse_args()
    chosen = [classes[name] for name in options.user_classes if name in classes] or list(
        classes.values()
    )
    environment = Environment(user_classes=chosen, parsed_options=options, shape_class=shape)
    try:
        drop_classes_without_tasks(environment)
        print(json.dumps(dry_run(plan_run(environment))))
    except RtbenchError as error:
        print(f"rtbench: {one_line(str(error))}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
