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

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from locust import LoadTestShape, task

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import ScriptError
from bench.base.units import NS_PER_S
from bench.files.yaml_file import LocatedValue, read_yaml
from bench.load.planning.tasks import file_of
from bench.load.user import RealtimeUser
from bench.plan.script import SETTINGS
from bench.record import folder as files

MAX_SPAWNED_PER_S = 100.0
SHORTEST_PAUSE_S = 0.001
ASKS = ("text", "audio")
FILES = ("audio", "background_noise", "file", "history", "image", "variables")
"""The keys of scripts whose texts are paths."""


class ProbeCaller(RealtimeUser):
    """A caller with one long call, who asks the same again and again, at even distances."""

    abstract = True
    asks: ClassVar[str | Path] = ""
    """A YAML script. The call has its settings; its first text or audio is asked, after the
    messages, and the greeting, before it."""
    fixed_count = 4
    spacing_s: ClassVar[float] = 2.0
    steps: ClassVar[tuple[dict[str, Any], ...]] = ()

    @classmethod
    def settings(cls) -> dict[str, Any]:
        cls._read_script((file_of(cls).parent / cls.asks).resolve())
        return super().settings()

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
            due_ns = begun_ns + round(number * self.spacing_s * NS_PER_S)
            late_s = (monotonic_ns() - due_ns) / NS_PER_S
            if late_s > self.spacing_s:
                begun_ns += round(late_s * NS_PER_S)
            self.pause(max(SHORTEST_PAUSE_S, -late_s))

    @classmethod
    def _read_script(cls, path: Path) -> None:
        """Take the settings of a script, and what to ask. Raise ScriptError if it asks nothing."""
        keys = _plain(read_yaml(path, "the script"))
        taken: list[dict[str, Any]] = []
        for step in keys.get("steps") or ():
            verb = next(iter(step), "")
            if verb in ASKS:
                taken.append({"verb": verb, **step, "name": "probe"})
                break
            if verb in ("message", "wait_for"):
                more = step[verb] if isinstance(step[verb], dict) else step
                taken.append({"verb": verb, **more})
        else:
            raise ScriptError(path, None, "has no text and no audio that a probe caller can ask")
        cls.steps = tuple(taken)
        for key in SETTINGS.fields.keys() & keys.keys():
            setattr(cls, key, keys[key])


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
    load: ClassVar[int] = 1
    peak: ClassVar[int] = 2
    before_s: ClassVar[float] = 240.0
    peak_s: ClassVar[float] = 60.0
    after_s: ClassVar[float] = 300.0
    margin: ClassVar[float] = 0.1

    def __init__(self) -> None:
        super().__init__()
        self._begun_ns: int | None = None
        self._known: dict[str, float] = {}

    @property
    def stages(self) -> tuple[dict[str, int], ...]:
        """The largest number of users, from which the plan of a run is made."""
        return ({"users": self.peak + sum(probe.fixed_count for probe in self._probes)},)

    @property
    def _probes(self) -> list[type[ProbeCaller]]:
        environment = getattr(self.runner, "environment", None)
        classes = environment.user_classes if environment else ()
        return [each for each in classes if issubclass(each, ProbeCaller)]

    def tick(self) -> tuple[int, float] | None:
        """Return (users, maximum of users that start or stop per second); None at the end."""
        run = self.runner.environment.rtbench.run
        probes = sum(probe.fixed_count for probe in self._probes)
        has_all = self._known or self.runner.user_count >= probes + self.load
        if run.folder is None or not has_all:
            self.runner.environment.parsed_options.num_users = probes + self.peak
            return probes + self.load, MAX_SPAWNED_PER_S
        now_ns = monotonic_ns()
        self._begun_ns = self._begun_ns or now_ns
        at_s = (now_ns - self._begun_ns) / NS_PER_S
        if at_s >= self.before_s + self.peak_s + self.after_s:
            return None
        is_over = at_s >= self.before_s + self.peak_s
        is_peak = at_s >= self.before_s and not is_over
        self._record(run, "peak" if is_peak else "after" if is_over else "begun")
        if is_peak and self.runner.user_count >= probes + self.peak:
            self._record(run, "reached")
        return probes + (self.peak if is_peak else self.load), MAX_SPAWNED_PER_S

    def _record(self, run: Any, instant: str) -> None:
        """Record when a part of the run began, or when the callers of the peak had started, so
        that it is known however the run ends.
        """
        name = f"{instant}_utc_ns"
        if name in self._known:
            return
        self._known[name] = utc_ns()
        spacing_s = max((probe.spacing_s for probe in self._probes), default=0.0)
        run.document["overload"] = {
            "load": self.load,
            "peak": self.peak,
            "margin": self.margin,
            "spacing_s": spacing_s,
            "probes": [probe.__name__ for probe in self._probes],
            **self._known,
        }
        files.write_document(run.folder, run.document)
