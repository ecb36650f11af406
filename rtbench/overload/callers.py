"""The shape of a load with a peak, and the probe callers, for Locust files.

    from rtbench import OverloadShape, ProbeCaller, RealtimeUser

    class Caller(RealtimeUser):
        script = "mine.yaml"

    class Probe(ProbeCaller):
        asks = "mine.yaml"
        fixed_count = 8

    class Peak(OverloadShape):
        load = 20
        peak = 60
        peak_s = 60

Locust starts users with a `fixed_count` first, and stops the users that it started last. So the
probe callers begin before the peak, and stay until the end.
"""

import random
from bisect import bisect
from itertools import accumulate, count
from pathlib import Path
from typing import Any, ClassVar

from locust import LoadTestShape, task
from locust.util.load_locustfile import load_locustfile

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_S
from bench.files.yaml_file import LocatedValue, read_yaml
from bench.load.planning.tasks import file_of, script_path, tasks_of
from bench.load.user import RealtimeUser
from bench.plan.script import SETTINGS
from bench.record import folder as files

MAX_SPAWNED_PER_S = 100.0
SHORTEST_PAUSE_S = 0.001
OPENING = ("message", "wait_for")
ASKS = ("text", "audio")
PARTS = ("begun", "peak", "after")
FILES = ("audio", "background_noise", "file", "history", "image", "variables")
"""The keys of scripts whose texts are paths."""


class ProbeCaller(RealtimeUser):
    """A caller with one long call, who asks the same again and again, at even distances."""

    abstract = True
    asks: ClassVar[str | Path] = ""
    """A YAML script. The call has its settings; its first text or audio is asked, after the
    messages, and the greeting, before it."""
    fixed_count = 4
    spacing_s = 2.0
    steps: ClassVar[list[dict[str, Any]]] = []
    """What the caller does: what precedes the question, and the question. `settings` reads it."""

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Read the script. Raise ScriptError if it asks nothing."""
        path = (file_of(cls).parent / cls.asks).resolve()
        keys = _plain(read_yaml(path, "the script"))
        cls.steps = []
        for step in keys.get("steps") or ():
            verb = next(iter(step), "")
            if verb in OPENING:
                more = step[verb] if isinstance(step[verb], dict) else step
                cls.steps.append({"verb": verb, **more})
            elif verb in ASKS:
                cls.steps.append({"verb": verb, **step, "name": "probe"})
                written = {key: keys[key] for key in SETTINGS.fields.keys() & keys.keys()}
                return super().settings() | written
        raise ScriptError(path, None, "has no text and no audio that a probe caller can ask")

    @task  # type: ignore[untyped-decorator]
    def probe(self) -> None:
        *opening, question = self.steps
        for step in opening:
            self._take(**step)
        # together, probe callers would themselves be a peak
        self.pause(random.uniform(SHORTEST_PAUSE_S, self.spacing_s))
        begun_ns = monotonic_ns()
        for number in count(1):
            turn = self._take_turn(**question)
            assert turn.outcome  # waits for its end
            late_s = (monotonic_ns() - begun_ns) / NS_PER_S - number * self.spacing_s
            if late_s > self.spacing_s:
                begun_ns += round(late_s * NS_PER_S)
            self.pause(max(SHORTEST_PAUSE_S, -late_s))


def callers_of(file: Path) -> tuple[dict[str, type], Path]:
    """Return (the user classes of a Locust file, its first YAML script). Raise UsageError if it has
    no script, or has a load shape.
    """
    callers, shapes = load_locustfile(str(file))
    if shapes:
        raise UsageError(f"{file} has its own load shape: use `rtbench run`")
    for user in callers.values():
        for played in tasks_of(user) if issubclass(user, RealtimeUser) else ():
            if isinstance(played.does, Path):
                return callers, script_path(user, played, played.does)
    raise UsageError(
        f"{file} has no YAML script, whose first text or audio the probe callers could ask: name a"
        " script"
    )


def _plain(value: LocatedValue, key: str = "") -> Any:
    """Return a value of a script with absolute paths, because the class is in another folder."""
    content = value.content()
    if isinstance(content, dict):
        return {name: _plain(inner, name) for name, inner in content.items()}
    if isinstance(content, list):
        return [_plain(inner, key) for inner in content]
    return str(value.folder / content) if key in FILES and isinstance(content, str) else content


class OverloadShape(LoadTestShape):  # type: ignore[misc]  # Locust is not typed
    """A load of `load` callers, in addition to the probe callers; for `peak_s` seconds `peak`; and
    again `load`.

    `margin` is the share by which latencies may exceed those before the peak. The first part begins
    when its callers have started. The instants of the parts are recorded in run.json.
    """

    abstract = True
    load = 1
    peak = 2
    before_s = 240.0
    peak_s = 60.0
    after_s = 300.0
    margin = 0.1

    _begun_ns = 0

    @property
    def stages(self) -> tuple[dict[str, int], ...]:
        """The largest number of users, from which the plan of a run is made."""
        return ({"users": self.peak + self._probe_count},)

    @property
    def _probes(self) -> list[type[ProbeCaller]]:
        environment = getattr(self.runner, "environment", None)
        classes = environment.user_classes if environment else ()
        return [each for each in classes if issubclass(each, ProbeCaller)]

    @property
    def _probe_count(self) -> int:
        return sum(probe.fixed_count for probe in self._probes)

    def reset_time(self) -> None:
        super().reset_time()
        self._begun_ns = 0

    def tick(self) -> tuple[int, float] | None:
        """Return (users, maximum of users that start or stop per second); None at the end."""
        run = self.runner.environment.rtbench.run
        steady = self._probe_count + self.load
        is_begun = bool(self._begun_ns) or self.runner.user_count >= steady
        if run.folder is None or not is_begun:
            self.runner.environment.parsed_options.num_users = self._probe_count + self.peak
            return steady, MAX_SPAWNED_PER_S
        self._begun_ns = self._begun_ns or monotonic_ns()
        at_s = (monotonic_ns() - self._begun_ns) / NS_PER_S
        ends_s = list(accumulate([self.before_s, self.peak_s, self.after_s]))
        if at_s >= ends_s[-1]:
            return None
        part = PARTS[bisect(ends_s, at_s)]
        self._record(run, part)
        users = steady + (self.peak - self.load) * (part == "peak")
        if part == "peak" and self.runner.user_count >= users:
            self._record(run, "reached")
        return users, MAX_SPAWNED_PER_S

    def _record(self, run: Any, instant: str) -> None:
        """Record when a part of the run began, or when the callers of the peak had started, so
        that it is known however the run ends.
        """
        entry = run.document.setdefault("overload", {})
        if f"{instant}_utc_ns" not in entry:
            entry |= {name: getattr(self, name) for name in ("load", "peak", "margin")}
            entry["spacing_s"] = max((probe.spacing_s for probe in self._probes), default=0.0)
            entry["probes"] = [probe.__name__ for probe in self._probes]
            entry[f"{instant}_utc_ns"] = utc_ns()
            files.write_document(run.folder, run.document)
