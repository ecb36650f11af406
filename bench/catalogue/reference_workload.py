"""The reference workload: the scripts that represent what voice services are asked, and the load
that measures them.

It has two forms: the caller speaks or types. Published values of services are comparable only if
they were measured with the same version of a form. So this module pins their digests.
scenarios/reference/README.md describes the workload. Pure.

The number of sessions is chosen so that p50 and p95 of each published metric can be reported, by
the rule `bench.catalogue.metrics.sessions_to_publish`. Interruptions and function calls occur in
one script each, three and four times per session. Their p95 needs 48 sessions of this script; 60,
of each script, leave a margin for failed sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

VERSION = "1"
"""The version of the workload. A change of a script or recording needs a new version, because it
changes a digest."""
SCRIPT_NAMES = ("short_questions", "long_answers", "interruptions", "two_tools", "fifteen_turns")
USERS = 8
SESSIONS_OF_SCRIPT = 60
SESSIONS = SESSIONS_OF_SCRIPT * len(SCRIPT_NAMES)
Form = Literal["spoken", "typed"]


@dataclass(frozen=True)
class ReferenceWorkload:
    """One form of the reference workload.

    - `word` stands for its scripts on the command line of `rtbench run`.
    - `file` is the Locust file that runs them, in the folder `scenarios`.
    - `digests` is the digest of each script, by its name, as in run.json.
    """

    form: Form
    word: str
    file: str
    digests: Mapping[str, str]


SPOKEN = ReferenceWorkload(
    "spoken",
    "reference",
    "reference.py",
    {
        "short_questions": "a9b044561d14f8c5fad1ff8f680c6e41bd98ad1f402f4fd3957cb40254704103",
        "long_answers": "0438ae25f26346a786eebc2f2931480373651011634ebbb6adc6cda88bf4aac6",
        "interruptions": "bb5631a69b35e934c355c0a5ca935101b582d49df98201776db00bae25fb673b",
        "two_tools": "9cb0ef02c878f219402073e12f93f74cc3fbcd62db37ea3f85c8cf623beed675",
        "fifteen_turns": "ffcfa09456cdcf02975ed6580c2f37dea8214cae68ce0c408f0a034503d1bb37",
    },
)
TYPED = ReferenceWorkload(
    "typed",
    "reference-typed",
    "reference_typed.py",
    {
        "short_questions": "caabe1ba05f45b710e5395322184b24d9ffa3a55cf23c9d8c058c3f660806736",
        "long_answers": "64b125344b02e3b85c683c99eb6119dc2fbf2ffcd92b828a7d02b4673dc4d5f4",
        "interruptions": "7c8820a81acc4a206761fc5b8720e210a32bc1cd2f8ae0c7b6df840e580ae2a2",
        "two_tools": "74c3b84bca2d2885eb94bacf980cb91834a3cadbeab04ef2dc0926248a7fac2a",
        "fifteen_turns": "52ece38e289588f8ace560e111989e5ad49f5caa25f6c9a41228d9c479bd45e3",
    },
)
WORKLOADS = (SPOKEN, TYPED)
