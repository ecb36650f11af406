"""The profiles of the simulator against published values of real services.

Sessions run on a virtual clock: the real behaviour of the simulator, without sockets and waits. In
each session the caller speaks in four turns, then says a backchannel during a reply, and interrupts
another reply. Values are the simulator's truth: instants at which it sends, and its decisions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binom  # type: ignore[import-untyped, unused-ignore]

from rtbench_simulator.profile import PRESETS, PROFILES, Profile, load_profile
from tests.simulator.spoken_calls import SERVICES, SILENCE_MS, SpokenCall, SpokenService
from tools.made_page import made_anew, table

SESSIONS, TURNS, SPEECH_MS = 400, 4, 3_000
BACKCHANNEL_MS, INTERRUPTION_MS, REPLY_MS = 300, 3_000, 12_000
TOLERANCE, BETWEEN_TOLERANCE, CONFIDENCE = 0.10, 0.05, 0.99
SHARES = {
    "no_reply": "no reply",
    "cut_in": "cut-ins",
    "ignored_backchannel": "ignored backchannels",
}
PAGE = Path(__file__).parents[2] / "rtbench_simulator" / "README.md"
Floats = npt.NDArray[np.float64]


def service_of(name: str) -> SpokenService:
    kind = name.partition("-")[0]
    return SERVICES[kind if kind in SERVICES else "realtime"]


@dataclass
class Observed:
    """The truth of several sessions. `waits_ms`: a list of voice to voice for each session."""

    waits_ms: list[list[float]] = field(default_factory=list)
    yields_ms: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)

    @property
    def between_sessions(self) -> float:
        return between_share([np.log(waits) for waits in self.waits_ms if waits])

    def statistic(self, name: str, values: Sequence[float]) -> float:
        return float(
            np.mean(values) if name == "mean" else np.quantile(values, int(name[1:]) / 100)
        )


def between_share(groups: Sequence[Floats]) -> float:
    """Return the intraclass correlation (one-way analysis of variance), for groups of any sizes."""
    sizes = np.array([group.size for group in groups], dtype=float)
    total, count = sizes.sum(), len(groups)
    centre = np.concatenate(groups).mean()
    between = sum(group.size * (group.mean() - centre) ** 2 for group in groups) / (count - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (total - count)
    typical = (total - (sizes**2).sum() / total) / (count - 1)
    return float((between - within) / (between + (typical - 1) * within))


def observe(profile: Profile, sessions: int = SESSIONS, *, interrupts: bool = True) -> Observed:
    """Return the truth of sessions with a profile. Agents do not greet."""
    profile, seen = replace(profile, agent=replace(profile.agent, greets=False)), Observed()
    for seed in range(sessions):
        call = SpokenCall(service_of(profile.name), profile, seed)
        waits = [wait_ms for _ in range(TURNS) if (wait_ms := _turn(call, seen)) is not None]
        seen.waits_ms.append(waits)
        if interrupts:
            _backchannel(call, seen)
            _interruption(call, seen)
    return seen


def _turn(call: SpokenCall, seen: Observed, heard_ms: int = REPLY_MS) -> float | None:
    """Speak, and return voice to voice; None if the service cut in, or did not answer."""
    before = len(call.decisions)
    call.speak(SPEECH_MS)
    ended_ms = call.now_ms
    call.listen(SILENCE_MS, SILENCE_MS)
    kinds = {decision.kind for decision in call.decisions[before:]}
    seen.tried.update(("cut_in", "no_reply"))
    seen.counts.update(kinds & {"cut_in", "no_reply"})
    while (
        audible_ms := call.first_audible_ms(ended_ms)
    ) is None and call.now_ms < ended_ms + REPLY_MS:
        call.listen(SILENCE_MS, SILENCE_MS)
        if "no_reply" in kinds:
            return None
    call.listen(heard_ms, SILENCE_MS)
    return None if kinds & {"cut_in", "no_reply"} or audible_ms is None else audible_ms - ended_ms


def _backchannel(call: SpokenCall, seen: Observed) -> None:
    if _turn(call, seen, SILENCE_MS) is not None:
        before = len(call.decisions)
        call.speak(BACKCHANNEL_MS, 700)
        kinds = [decision.kind for decision in call.decisions[before:]]
        if kinds:  # else the reply was over
            seen.tried.update(("ignored_backchannel",))
            seen.counts["ignored_backchannel"] += kinds[0] == "ignored_backchannel"
    call.listen(REPLY_MS, SILENCE_MS)


def _interruption(call: SpokenCall, seen: Observed) -> None:
    if _turn(call, seen, SILENCE_MS) is not None:
        before = len(call.decisions)
        call.speak(INTERRUPTION_MS)
        for decision in call.decisions[before:]:
            if (
                decision.kind == "yield"
                and decision.at_ns is not None
                and decision.from_ns is not None
            ):
                seen.yields_ms.append((decision.at_ns - decision.from_ns) / 1e6)


@dataclass(frozen=True)
class Row:
    """A published value, and the simulated one."""

    name: str
    published: str
    simulated: str
    met: bool


def rows_of(profile: Profile, seen: Observed) -> Iterator[Row]:
    """Yield the comparisons of a profile with its published values."""
    published, waits_ms = (
        profile.published,
        [wait_ms for waits in seen.waits_ms for wait_ms in waits],
    )
    for name, values, wanted in (
        ("voice to voice", waits_ms, published.voice_to_voice_ms),
        ("time to yield", seen.yields_ms, published.yield_ms),
    ):
        for statistic, value in wanted.items():
            simulated = seen.statistic(statistic, values)
            met = abs(simulated / value - 1) <= TOLERANCE
            yield Row(f"{name}, {statistic}", f"{value:,.0f} ms", f"{simulated:,.0f} ms", met)
    if (between := published.between_sessions) is not None:
        simulated = seen.between_sessions
        met = abs(simulated - between) <= BETWEEN_TOLERANCE
        yield Row("variance between sessions", f"{between:.2f}", f"{simulated:.2f}", met)
    for kind, title in SHARES.items():
        key = f"{kind}_share"
        share = getattr(profile.turn_taking, key)
        count, tried = seen.counts[kind], seen.tried[kind]
        low, high = binom.interval(CONFIDENCE, tried, share)
        note = " (assumed)" if is_assumed(profile, key) else ""
        yield Row(title, f"{share:.1%}{note}", f"{count / tried:.1%}", bool(low <= count <= high))


def is_assumed(profile: Profile, key: str) -> bool:
    """Return whether the file of a profile says that the value of a key is assumed."""
    text = (PROFILES / f"{profile.name}.yaml").read_text(encoding="utf-8")
    return re.search(rf"^ *{key}: .*# .*assumed", text, re.MULTILINE) is not None


def main() -> bool:
    """Compare all profiles with published values, and write the table of the simulator's page."""
    met, lines = True, list[tuple[str, ...]]()
    for name in PRESETS:
        profile = load_profile(Path(name))
        if not profile.published.voice_to_voice_ms:
            continue
        for number, row in enumerate(rows_of(profile, observe(profile))):
            met &= row.met
            print(f"  {name:<24}{row.name:<28}{row.published:>16}{row.simulated:>10}", end="")
            print("" if row.met else "  goal NOT met", flush=True)
            lines.append(
                (f"`{name}`" if not number else "", row.name, row.published, row.simulated)
            )
    page = PAGE.read_text(encoding="utf-8")
    made = table(("profile", "value", "published", "simulated"), lines)
    PAGE.write_text(made_anew(page, {"profiles": made}), encoding="utf-8")
    print("all goals met" if met else "a goal was NOT met")
    return met
