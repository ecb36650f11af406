"""The reference workload, typed: the same five scripts as text (scenarios/reference/README.md).

`rtbench run reference-typed` runs it with the load that decides p50 and p95.
"""

from rtbench import RealtimeUser, script


class TypingReferenceCaller(RealtimeUser):
    """A caller who types, and interrupts replies as if by a button."""

    in_turn = True
    tasks = [
        script("reference/typed/short_questions.yaml"),
        script("reference/typed/long_answers.yaml"),
        script("reference/typed/interruptions.yaml"),
        script("reference/typed/two_tools.yaml"),
        script("reference/typed/fifteen_turns.yaml"),
    ]
