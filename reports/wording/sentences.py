"""The sentences at the top of a report, of waits and of what went wrong: templates with numbers, and no judgements."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.metrics import STARVED
from bench.untrusted.sanitize import escape_control
from reports.numbers import capital, count, listed, percent, plural, together, usd
from reports.question import STARTED_BY
from reports.samples import ANSWER_HEARD, HEARD
from reports.statistics.verdicts import turns_to_decide
from reports.summary.arms import FAIR
from reports.summary.outcomes import Ending
from reports.summary.summary import CallerWait, Summary
from reports.summary.trust import taken_by_warm_up
from reports.wording import settings, words
from reports.wording.breakdown import SPEECH_END, largest_part
from reports.wording.notices import decided
from reports.wording.validity import ended_as, remedy_line, verdict_reason, why_not_judged

COMES = "The first {} of the reply comes {} (median)"
"""What comes from the service; what a caller waits for is when the reply is heard."""
AFTER = {"speech_end": "after the end of speech", "request_sent": "after the request"}


def main_answers(summary: Summary) -> Sequence[CallerWait]:
    """Return the answers that a run is summed up by: what callers hear if any target has a median of it."""
    return summary.heard if any(answer.figures.at(0.5).bounded for answer in summary.heard) else summary.answers


def run_headline(summary: Summary) -> str:
    """Return the answer in a sentence; of several targets also those that gave none."""
    if summary.validity.status == "invalid":
        return f"Do not use these results: {words.cause(summary)}."
    if not sum(summary.outcomes.begun):
        sessions = sum(summary.outcomes.opened)
        if taken := taken_by_warm_up(summary.run.metadata):
            return f"Nothing was measured: {why_not_judged(taken)}."
        if not sessions:
            return "This run holds no turns and no sessions."
        ends = {ending.outcome: sum(ending.counts) for ending in summary.outcomes.sessions}
        return f"No turn started: {ended_as(ends)}."
    lost = [summary.targets[place] for place in hopeless(summary)]
    begun = [answer for answer in main_answers(summary) if answer.turns and answer.target not in lost]
    lacks = *_without_median(begun), *never_begun(summary), *lacking(summary), *early_replies(summary)
    return " ".join([*_sentences(summary, begun), *(f"{lack}." for lack in lacks)])


def _sentences(summary: Summary, begun: list[CallerWait]) -> list[str]:
    """Return a sentence or two for each stratum of these answers."""
    strata = dict.fromkeys(answer.stratum for answer in begun)
    parts = [[answer for answer in begun if answer.stratum == stratum] for stratum in strata]
    several = len(parts) > 1
    # plain turns of both origins, whose first outputs one sentence tells; none unless all have a median
    plain = [part for part in parts if not part[0].stratum.turn_type]
    kinds = {words.KINDS.get(part[0].figures.metric) for part in plain}
    told = all(answer.figures.at(0.5).bounded for part in plain for answer in part)
    alike = plain if len(plain) > 1 and told and len(kinds) == 1 and None not in kinds else []
    each = [f"{_medians(told, len(summary.targets) > 1)} {AFTER[told[0].stratum.measured_from]}" for told in alike]
    said = [f"{COMES.format(words.KINDS[alike[0][0].figures.metric], ', and '.join(each))}."] if alike else []
    said += [
        _beside(summary, begun, part) or _answered(summary, part, several=several)
        for part in parts
        if part not in alike
    ]
    return said


def _answered(summary: Summary, begun: list[CallerWait], *, several: bool) -> str:
    """The sentence of the turns of one stratum; of several strata it is short, for the table says more."""
    told, named = [answer for answer in begun if answer.figures.at(0.5).bounded], len(summary.targets) > 1
    if told:
        said = f"{_waits(told, named)}." if several else _waits_and_tail(told, named)
        largest = largest_part(summary, _ends(told)) if told[0].figures.metric == HEARD else ""
        return f"{said} {largest}".rstrip()
    where = [answer.target for answer in begun] if len(begun) < len(summary.targets) else []
    return _untold(begun, begun[0].stratum.turns if several else "turns", f" on {listed(where)}" if where else "")


def _beside(summary: Summary, begun: list[CallerWait], part: list[CallerWait]) -> str:
    """With function calls it is 1.7 s: turns of another type than the regular ones that are reported; empty of all
    others."""
    stratum = part[0].stratum
    plain = [answer for answer in begun if answer.stratum == stratum._replace(turn_type="")]
    told = [answer for answer in part if answer.figures.at(0.5).bounded]
    if not (stratum.turn_type and told and any(answer.figures.at(0.5).bounded for answer in plain)):
        return ""
    kind = stratum.turn_type_words
    which = f"{kind[:1].upper()}{kind[1:]}{',' if ',' in kind else ''}"
    return f"{which} it is {_medians(told, len(summary.targets) > 1)}."


def _without_median(begun: list[CallerWait]) -> list[str]:
    """On b 27 of 30 turns failed: too many for a median; on c 12 turns of 3 sessions are too few for a median, which
    takes 6 sessions.

    Of the targets that have none where another has one.
    """
    told = {answer.target for answer in begun if answer.figures.at(0.5).bounded}
    said = []
    for name in dict.fromkeys(answer.target for answer in begun if told and answer.target not in told):
        mine = [answer for answer in begun if answer.target == name]
        unmet, wanted = sum(answer.unmet for answer in mine), sum(answer.wanted for answer in mine)
        if any(answer.figures.at(0.5).status == "in_failures" for answer in mine):
            said.append(f"On {name} {count(unmet)} of {plural(wanted, 'turn')} failed: too many for a median")
            continue
        most = max(mine, key=lambda answer: answer.figures.at(0.5).sessions)
        turns, estimate = most.figures.n, most.figures.at(0.5)
        few = f"{plural(turns, 'turn')} of {plural(estimate.sessions, 'session')} {'is' if turns == 1 else 'are'}"
        takes = f", which takes {plural(estimate.required, 'session')}" if estimate.required else ""
        failed = f" ({count(unmet)} of {count(wanted)} planned failed)" if unmet else ""
        said.append(f"On {name} {few} too few for a median{takes}{failed}")
    return said


def _waits(told: list[CallerWait], named: bool, *beside: float) -> str:
    """The medians, by target where the run has several; in a unit that suits the values said beside them as well."""
    stratum, metric = told[0].stratum, told[0].figures.metric
    apart = f", {stratum.turn_type_words}" if stratum.turn_type else ""
    if metric == HEARD:
        started = STARTED_BY[stratum.measured_from] if stratum.measured_from else ""
        of_turns = f" in {started}" if started and started in told[0].label else ""
        medians = _medians(told, named, *beside)
        return f"Callers hear the reply {medians} after they stop speaking (median {HEARD}){of_turns}{apart}"
    kind = words.KINDS[metric]
    return COMES.format(kind, f"{_medians(told, named, *beside)} {AFTER[stratum.measured_from]}") + apart


def _medians(told: list[CallerWait], named: bool, *beside: float) -> str:
    shown = _ends(told)
    times = together(*map(_median, shown), *beside)
    medians = [_marked(time, a, 0.5, named=named) for time, a in zip(times, shown, strict=False)]
    return _spread(medians, len(told))


def _waits_and_tail(told: list[CallerWait], named: bool) -> str:
    """The medians with p95; where it may not be told the slowest turn, if the run has one target."""
    shown = _ends(told)
    medians = [_median(answer) for answer in shown]
    if all(answer.figures.at(0.95).bounded for answer in shown):
        tails = [answer.figures.at(0.95).told for answer in shown]
        times = together(*medians, *tails)[len(shown) :]
        longer = [_marked(time, a, 0.95, named=named) for time, a in zip(times, shown, strict=True)]
        return f"{_waits(told, named, *tails)}; one turn in twenty takes longer than {listed(longer)} (p95)."
    if named or told[0].figures.metric == HEARD:  # the largest part says more than the slowest turn
        return f"{_waits(told, named)}."
    slowest, which = (
        told[0].figures.high,
        "that succeeded" if told[0].figures.failed else f"of {plural(told[0].turns, 'turn')}",
    )
    took = together(*medians, slowest)[-1]
    return f"{_waits(told, named, slowest)}; the slowest {which} took {took}."


def _ends(told: list[CallerWait]) -> list[CallerWait]:
    """Up to three answers; of more the fastest and the slowest."""
    return told if len(told) <= 3 else [min(told, key=_median), max(told, key=_median)]


def _spread(times: list[str], many: int) -> str:
    """Up to three by name; of more the shortest and the longest."""
    return listed(times) if many <= 3 else f"from {times[0]} to {times[1]}"


def run_beside(summary: Summary) -> str:
    """Return what belongs to the headline: if that is when callers hear the reply, when its first output comes and,
    if scripts define one, the answer in it.
    """
    if summary.validity.status == "invalid":
        return ""
    lost = [summary.targets[place] for place in hopeless(summary)]
    first = [answer for answer in summary.answers if answer.figures.at(0.5).bounded and answer.target not in lost]
    said = [] if main_answers(summary) is summary.answers else _sentences(summary, first)
    return " ".join(filter(None, [*said, _answer_heard(summary)]))


def _answer_heard(summary: Summary) -> str:
    """Callers hear the answer 3.6 s after they stop speaking (median …); empty without a median."""
    told = [answer for answer in summary.answered if answer.figures.at(0.5).bounded]
    if not told:
        return ""
    shown = _ends(told)
    times = together(*(_median(answer) for answer in shown))
    named = [
        f"{words.bound(answer.figures.at(0.5))}{time}{_whose(answer, summary)}"
        for time, answer in zip(times, shown, strict=True)
    ]
    waited = f"Callers hear the answer {_spread(named, len(told))} after they stop speaking"
    return f"{waited} (median {ANSWER_HEARD}, {settings.player(summary.setup)})."


def _whose(answer: CallerWait, summary: Summary) -> str:
    """on direct, in VAD turns: as much as tells it from the others."""
    apart = answer.label.removeprefix(answer.target)
    by_origin = STARTED_BY[answer.stratum.measured_from] in apart
    stratum = answer.stratum if by_origin else answer.stratum._replace(measured_from="")
    on = f" on {answer.target}" if len(summary.targets) > 1 else ""
    return f"{on} in {stratum.turns}" if apart else on


def _median(answer: CallerWait) -> float:
    return answer.figures.at(0.5).told


def _marked(time: str, answer: CallerWait, p: float, *, named: bool) -> str:
    """482 ms, ≥ 1.2 s on direct."""
    return f"{words.bound(answer.figures.at(p))}{time}{f' on {answer.target}' if named else ''}"


def _untold(begun: list[CallerWait], noun: str, where: str) -> str:
    """Why there is no median, and what there is."""
    turns, failed = sum(a.figures.n for a in begun), sum(a.figures.failed for a in begun)
    if failed and failed == turns:
        return f"All {noun}{where} failed: {count(failed)} of {count(turns)}."
    if any(a.figures.at(0.5).status == "in_failures" for a in begun):
        return f"Half of the {noun}{where} or more failed: {count(failed)} of {count(turns)}."
    good = [end for a in begun for end in (a.figures.low, a.figures.high) if math.isfinite(end)]
    if not good:
        if sum(answer.wanted - answer.unmet for answer in begun):
            return f"The service did not report when the first output of the {noun}{where} came that ended well."
        cut = count(sum(a.turns for a in begun))
        return f"None of the {noun}{where} came to an end: {cut} were cut by the end of the run."
    figures = begun[0].figures
    took = " to ".join(dict.fromkeys(together(min(good), max(good))))
    first = "audible sample" if figures.metric == HEARD else words.KINDS[figures.metric]
    came = f"first {first} came {took} {AFTER[figures.stratum.measured_from or SPEECH_END]}"
    apart = f" {figures.stratum.turn_type_words}" if figures.stratum.turn_type else ""
    there = _few_sessions(begun, f"{plural(turns, 'turn')}{apart}")
    return f"Too few sessions for a median{where} ({there}); {'its' if turns == 1 else 'their'} {came}."


def _few_sessions(begun: list[CallerWait], turns: str) -> str:
    """12 turns in 4 sessions; it takes 6 sessions: those with a value, and those that it takes.

    Of several targets each by name, of more than three the one that has most.
    """
    if len(begun) == 1:
        estimate = begun[0].figures.at(0.5)
        takes = f"; it takes {plural(estimate.required, 'session')}" if estimate.required else ""
        return f"{turns} in {plural(estimate.sessions, 'session')}{takes}"
    each = [(answer.figures.at(0.5), answer.target) for answer in begun]
    shown = each if len(each) <= NAMED else [max(each, key=lambda one: one[0].sessions)]
    most = ", which has most," if len(each) > NAMED else ""
    named = [f"{name}{most} has {plural(e.sessions, 'session')} and needs {count(e.required)}" for e, name in shown]
    return f"{turns}; {', '.join(named)}"


def run_essentials(summary: Summary) -> str:
    """✓ VALID · ttfa p50 482 ms, p95 902 ms · 412 turns, 3 failed · 1.32 USD: the run in one line."""
    spent = [] if summary.simulated or math.isnan(summary.money.usd) else [usd(summary.money.usd)]
    if summary.validity.status == "invalid":
        told = [f"do not use these results: {words.cause(summary)}"]
    else:
        answers = main_answers(summary)
        told = _alone(answers[0]) if len(answers) == 1 else _tails(summary, answers)
    return " · ".join([*words.run_badges(summary), *told, *_counted(summary), *spent])


def _counted(summary: Summary) -> list[str]:
    """412 turns, 3 failed, after the targets without a good one; 10 sessions connect_failed:401, 40 turns lost."""
    found = summary.outcomes
    if taken_by_warm_up(summary.run.metadata):
        return ["nothing was measured"]
    if not sum(found.begun) and found.sessions:
        ends = [f"{plural(sum(ending.counts), 'session')} {ending.outcome}" for ending in found.sessions]
        return [*ends, *([f"{plural(sum(found.lost), 'turn')} not started"] if sum(found.lost) else [])]
    failed = f"{of_wanted(summary)} planned" if sum(found.lost) else count(sum(found.failed))
    return [*lacking(summary), f"{plural(sum(found.begun), 'turn')}, {failed} failed"]


def _alone(answer: CallerWait) -> list[str]:
    """ttfa p50 482 ms, p95 902 ms: what may be published of it."""
    told = [estimate for p in (0.5, 0.95) if (estimate := answer.figures.at(p)).bounded]
    times = together(*(estimate.told for estimate in told)) if told else []
    said = [f"p{estimate.p * 100:g} {words.bound(estimate)}{time}" for estimate, time in zip(told, times, strict=True)]
    return [f"{answer.figures.metric} {', '.join(said)}"] if said else []


def _tails(summary: Summary, answers: Sequence[CallerWait]) -> list[str]:
    """ttfa p95 902 ms on direct and 941 ms on gateway; of more than two the least and the largest; p50 without a p95.

    Of several strata each says what it counts from or what sets it apart, and one target is not named.
    """
    p = 0.95 if any(a.figures.at(0.95).bounded for a in answers) else 0.5
    said, named = [], len(summary.targets) > 1
    strata = list(dict.fromkeys(answer.stratum for answer in answers))
    for stratum in strata:
        told = [a for a in answers if a.stratum == stratum and a.figures.at(p).bounded]
        if told:
            ends = sorted(told, key=lambda answer: answer.figures.at(p).told)
            ends = told if len(told) < 3 else [ends[0], ends[-1]]
            times = together(*(answer.figures.at(p).told for answer in ends))
            parts = [_marked(time, a, p, named=named) for time, a in zip(times, ends, strict=True)]
            # of what counts from an instant of its own
            apart = f" {stratum.turn_type_words}" if stratum.turn_type else ""
            since = words.since(told[0].figures.metric, stratum) or apart if len(strata) > 1 else ""
            joined = " to ".join(parts) if len(told) > 2 else listed(parts)
            said.append(f"{told[0].figures.metric}{since} p{p * 100:g} {joined}")
    return said


NO_VERDICT = "Not judged: {}. So it is not known whether the load generator kept up."
EARLY_REMEDIES = {
    True: "raise the script's reply_silence_ms, or say by answer_min_ms how long an answer is",
    False: "raise silence_duration_ms of the script's turn_detection",
}
"""What to do about early replies, by whether replies are found in the audio alone."""
NAMED = 3
"""So many targets are named one by one in a sentence."""


def of_wanted(summary: Summary) -> str:
    """45 of 86: the turns that failed or were not started, and those that were wanted."""
    return f"{count(sum(summary.outcomes.unmet))} of {count(sum(summary.outcomes.wanted))}"


def run_second(summary: Summary) -> str:
    """What went wrong, in numbers."""
    outcomes = summary.outcomes
    begun, wanted, cut = (sum(n) for n in (outcomes.begun, outcomes.wanted, outcomes.unfinished))
    if not begun:
        return ""
    said = [_unmet_in_all(summary) if sum(outcomes.lost) else _failed(summary)] if wanted else []
    replies, silent = (sum(getattr(c, name) for c in summary.counts) for name in ("replies", "stalled"))
    if silent:
        said.append(f"{count(silent)} of {words.replies(replies)} stalled while playing ({percent(silent, replies)}).")
    starved = sum(sum(ending.counts) for ending in outcomes.turns if ending.outcome == STARVED)
    if cut > starved:
        said.append(f"{_were(cut - starved)} cut by the end of the run and left out.")
    if starved:
        said.append(
            f"{_were(starved)} left out, because the load generator did not run when a limit ended: it is unknown "
            "whether the service met it."
        )
    if summary.validity.status == "no_verdict":
        said.append(NO_VERDICT.format(verdict_reason(summary.validity)))
    return " ".join(said)


def _were(number: int) -> str:
    return f"{count(number)} {'was' if number == 1 else 'were'}"


def way_out(summary: Summary) -> str:
    """What to do about the commonest failure, where most of what was wanted failed."""
    remedies, outcomes = summary.outcomes.remedies(), summary.outcomes
    mostly = 2 * sum(outcomes.unmet) > sum(outcomes.wanted)
    line = remedy_line(remedies[0]) if remedies and mostly else ""
    return f"What to do about {line}{'' if line.endswith('?') else '.'}" if line else ""


@dataclass(frozen=True)
class LongerRun:
    """What to play for a figure that takes more sessions. `command`: as a shell reads it; empty if it is not known."""

    figure: str
    options: str
    command: str


def longer_runs(summary: Summary) -> list[LongerRun]:
    """The runs that are long enough for a median and for p95, where this one is too short; none of an invalid run."""
    if summary.validity.status == "invalid":
        return []
    told = [answer for answer in summary.answers if answer.figures.at(0.5).bounded]
    short = [] if decided(summary.run) else told or summary.answers
    needed = {
        name: max((_to_play(summary, answer, p) for answer in short), default=0)
        for name, p in (("a median", 0.5), ("p95", 0.95))
    }
    return [_longer(summary, name, sessions) for name, sessions in needed.items() if sessions]


def next_step(summary: Summary) -> str:
    """What to do with the values, in a sentence; of an invalid or failed run its remedy says it."""
    if summary.validity.status == "invalid":
        return ""
    told = [answer for answer in summary.answers if answer.figures.at(0.5).bounded]
    plays = ", ".join(f"for {run.figure} play {run.options} or more" for run in longer_runs(summary))
    longer = f"{capital(plays)}. " if plays else ""
    if not told:
        return longer.rstrip()
    folder = summary.run.folder.resolve()
    run = escape_control(f"{folder.parent.name}/{folder.name}")
    if len(summary.targets) > 1 and not decided(summary.run):
        return f"{longer}`rtbench compare {run}` tests these differences; no test was made here."
    if _tested(summary):
        return f"{longer}`rtbench compare {run} OTHER` compares it with another run."
    return f"{longer}`rtbench check {run} --thresholds FILE` tests thresholds, `rtbench compare` another run."


def _to_play(summary: Summary, answer: CallerWait, p: float) -> int:
    """How many sessions of its target give so many with a value as the quantile takes; 0 where it lacks none.

    Sessions are in a run that have no such turn: those of the warm-up, those that never opened, and others' scripts.
    """
    estimate = answer.figures.at(p)
    required = estimate.required if estimate.status == "too_few_sessions" else 0
    if f"p({p * 100:g})" in _tested(summary) and 0 < answer.figures.n < turns_to_decide(p):
        required = max(required, math.ceil(turns_to_decide(p) * estimate.sessions / answer.figures.n))
    if not required or not estimate.sessions:
        return required
    played = int((summary.run.sessions["target"] == answer.target).sum())
    return math.ceil(required * max(played, estimate.sessions) / estimate.sessions)


def _tested(summary: Summary) -> str:
    """Return the texts of the thresholds that the run was started with."""
    recorded = summary.run.metadata.get("thresholds") or {}
    return " ".join(str(text) for texts in recorded.values() for text in texts)


def _longer(summary: Summary, figure: str, sessions: int) -> LongerRun:
    """The run of so many sessions: by `--sessions 45`, or by `--run-time 5m` if its time ended this one.

    Of a run whose stages are in a file the number alone.
    """
    given = summary.run.metadata.get("settings") or {}
    if given.get("stages"):
        return LongerRun(figure, f"{count(sessions)} sessions", "")
    options, run_time_s = dict[str, str](), given.get("run_time")
    if run_time_s:
        played = max(1, *(int((summary.run.sessions["target"] == target).sum()) for target in summary.targets))
        options["--run-time"] = f"{math.ceil(float(run_time_s) * sessions / played / 60)}m"
    if given.get("sessions") or not run_time_s:
        options["--sessions"] = str(sessions)
    asked = " ".join(f"{flag} {value}" for flag, value in options.items())
    return LongerRun(figure, f"`{asked}`", _command(summary, options, sessions))


UNCONFIRMED, CONFIRM = 20, "--yes"
"""Sessions on a service that need no confirmation, and the option that confirms more."""


def _command(summary: Summary, options: Mapping[str, str], sessions: int) -> str:
    """The command of this run with other values of these options; empty if it is not known."""
    told = summary.run.metadata.get("command")
    if not (isinstance(told, list) and told):
        return ""
    words = [str(word) for word in told]
    for flag, value in options.items():
        words = [word for word in words if not word.startswith(f"{flag}=")]
        place = words.index(flag) if flag in words else len(words)
        words[place : place + 2] = [flag, value]
    asks = not summary.simulated and sessions * len(summary.targets) > UNCONFIRMED and "quickstart" not in words
    return escape_control(shlex.join([*words, CONFIRM] if asks and CONFIRM not in words else words))


def _failed(summary: Summary) -> str:
    """How many failed where none was lost, unless the headline has said it, and how."""
    failed, ended = sum(summary.outcomes.failed), sum(summary.outcomes.wanted)
    if not failed:
        return "The turn did not fail." if ended == 1 else f"None of the {plural(ended, 'turn')} failed."
    told = summary.validity.status != "invalid" and all(
        answer.figures.at(0.5).status == "in_failures" for answer in summary.answers if answer.turns
    )
    most, several = _mostly(_failures(summary))
    if told:
        return f"{'Most often' if several else 'Each'} {most}."
    often = "most often " if several else ""
    where = _shared(summary, summary.outcomes.failed)
    return f"{count(failed)} of {plural(ended, 'turn')} failed ({percent(failed, ended)}{where}), {often}{most}."


def _shared(summary: Summary, numbers: Sequence[int]) -> str:
    """How they lie among several targets: `; 6 of 24 on quick`, `; 4 of 24 on a and 2 of 24 on b`."""
    rows = zip(summary.targets, numbers, summary.outcomes.wanted, strict=True)
    mine = [f"{count(n)} of {count(wanted)} on {target}" for target, n, wanted in rows if n]
    several = len(summary.targets) > 1
    return f"; {listed(mine)}" if several and len(mine) <= NAMED else ""


def _unmet_in_all(summary: Summary) -> str:
    """45 of 86 planned turns failed (52.3 %): 45 not started, their sessions ended as throttled:handshake; …."""
    found = summary.outcomes
    unmet, wanted, failed, lost = (sum(n) for n in (found.unmet, found.wanted, found.failed, found.lost))
    most, several = _mostly(list(found.losses))
    whose = "its session" if lost == 1 else "their sessions"
    parts = [f"{count(lost)} not started, {whose} ended {'most often ' if several else ''}{most}"]
    if failed:
        most, several = _mostly(_failures(summary))
        parts.insert(0, f"{count(failed)} of those started{', most often' if several else ''} {most}")
    elif wanted > lost:
        parts.append(f"none of the {count(wanted - lost)} started failed")
    where = _shared(summary, found.unmet)
    return f"{of_wanted(summary)} planned turns failed ({percent(unmet, wanted)}{where}): {'; '.join(parts)}."


def _failures(summary: Summary) -> list[Ending]:
    return [ending for ending in summary.outcomes.turns if ending.kind == "failed"]


def _mostly(endings: list[Ending]) -> tuple[str, bool]:
    """How most turns ended, `as closed:1006 (17)`, and whether others ended in another way."""
    most, several = max(endings, key=lambda ending: sum(ending.counts)), len(endings) > 1
    return f"as {most.outcome} ({count(sum(most.counts))})" if several else f"as {most.outcome}", several


def hopeless(summary: Summary) -> list[int]:
    """The places of those targets, of several, all of whose turns failed or were never begun."""
    found, places = summary.outcomes, range(len(summary.targets))
    bad = [i for i in places if found.wanted[i] and found.unmet[i] == found.wanted[i] and not found.unfinished[i]]
    return bad if len(places) > 1 else []


def never_begun(summary: Summary) -> list[str]:
    """29 % of the planned turns did not start: of the targets that have a good one, where that is more than 1 %."""
    found, bad = summary.outcomes, hopeless(summary)
    places = [place for place in range(len(summary.targets)) if place not in bad]
    lost, wanted = (sum(numbers[place] for place in places) for numbers in (found.lost, found.wanted))
    return [f"{percent(lost, wanted)} of the planned turns did not start"] if lost > FAIR * wanted else []


def early_replies(summary: Summary) -> list[str]:
    """Say of each target that too many replies began before their question had ended, and what to do about it."""
    early = {one.target: one for one in summary.run.inexact if one.is_early}
    heard_alone = {
        str(entry.get("name")) for entry in summary.run.metadata.get("targets") or [] if entry.get("full_duplex")
    }
    return [
        f"{f'{name}: ' if len(summary.targets) > 1 else ''}{one.early}, so latencies may be of the previous question "
        f"and decide nothing: {EARLY_REMEDIES[name in heard_alone]}"
        for name, one in early.items()
    ]


def lacking(summary: Summary) -> list[str]:
    """dead: none of its 9 turns started (connect_failed:tcp): the targets, of several, that have no good turn."""
    found = summary.outcomes
    places: dict[tuple[bool, bool, str], list[int]] = {}
    for place in hopeless(summary):
        failed = [ending for ending in _failures(summary) if ending.counts[place]]
        commonest = max(failed or found.losses, key=lambda ending: ending.counts[place]).outcome
        kind = (found.begun[place] > 0, found.lost[place] > 0, commonest)
        places.setdefault(kind, []).append(place)
    return [_lack(summary, mine, *kind) for kind, mine in places.items()]


def _lack(summary: Summary, places: list[int], begun: bool, lost: bool, end: str) -> str:
    names, its = listed([summary.targets[place] for place in places]), "its" if len(places) == 1 else "their"
    turns = sum(summary.outcomes.wanted[place] for place in places)
    if turns == 1:
        return f"{names}: its only turn {'failed' if begun else 'did not start'} ({end})"
    if not begun:
        return f"{names}: none of {its} {plural(turns, 'turn')} started ({end})"
    never = sum(summary.outcomes.lost[place] for place in places)
    beside = f", {count(never)} of them not started" if lost else ""
    return f"{names}: all of {its} {plural(turns, 'turn')} failed{beside} ({end})"
