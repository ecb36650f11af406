"""The reference workload, spoken: five scripts that represent what voice services are asked
(scenarios/reference/README.md).

`rtbench run reference` runs it with the load that decides p50 and p95.
"""

from rtbench import RealtimeUser, script


class ReferenceCaller(RealtimeUser):
    """A caller who speaks; the service detects the end of each turn."""

    in_turn = True
    tasks = [
        script("reference/short_questions.yaml"),
        script("reference/long_answers.yaml"),
        script("reference/interruptions.yaml"),
        script("reference/two_tools.yaml"),
        script("reference/fifteen_turns.yaml"),
    ]
