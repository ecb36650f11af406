"""report.md: verdict first, SIMULATED in plain sight, a table of the answer, the rest folded away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.plain import printable
from reports.numbers import NBSP, count, moment, ms, percent, plural, quantity, three, usd
from reports.summary import drift
from reports.summary.arms import FACTS
from reports.summary.events import ALL, PS
from reports.summary.money import CACHED, INPUT, OUTPUT
from reports.summary.slowest import Slow
from reports.summary.spread import figures_of
from reports.summary.summary import HEARD, Answer, Summary
from reports.summary.trust import trust
from reports.wording import failings, remarks, sentences, words

ROWS_MOST = 10
INCIDENTS_MOST = 20
_MARKUP = re.compile(r"[\\|`*\[_]")
SIMULATED = " (SIMULATED, what the same tokens would cost)"


def markdown(summary: Summary) -> str:
    """The file's text."""
    lines = [*_head(summary), "", *_answer(summary), "", *_details(summary)]
    return "\n".join(lines).rstrip().replace(NBSP, " ") + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, last: str = "--:") -> Iterable[str]:
    """A table whose first columns are text, the others figures; `last` aligns the last one."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "|".join(["---"] * left + ["--:"] * (len(head) - left - 1) + [last]) + "|"
    for row in rows:
        yield f"| {' | '.join(plain(entry) for entry in row)} |"


def plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is: labels are anyone's."""
    return _MARKUP.sub(r"\\\g<0>", printable(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _head(summary: Summary) -> Iterable[str]:
    verdict = summary.verdict
    yield f"### {verdict.glyph} {verdict.word}: {plain(sentences.headline(summary))}"
    simulated = "◇ **SIMULATED**: `rtbench simulate`, no real service · " if summary.simulated else ""
    yield f"{simulated}{plain(summary.called)} · {moment(summary.window.began_utc_ns)} · {words.lasted(summary)}"
    for rule in verdict.broken:
        remedy = f" What to do: {plain(words.remedy(rule))}" if rule.remedy else ""
        yield from ("", f"**{plain(words.rule_line(rule))}** {plain(words.rule_figure(rule))}{remedy}")
    said = " ".join(filter(None, (summary.decided, sentences.heard(summary), failings.second(summary))))
    if said:
        yield from ("", plain(said))
    if flowed := remarks.throughput(summary):
        yield from ("", plain(f"Throughput: {'; '.join(flowed)}."))


def _answer(summary: Summary) -> Iterable[str]:
    if not sum(summary.outcomes.begun):
        return
    for place, group in enumerate(words.tables(summary)):
        yield from [""] if place else []
        yield from _table_of(summary, group)
    apart = remarks.differences(summary)
    if apart:
        interleaved = [summary.interleaving.sentence] if summary.interleaving else []
        yield from ("", plain(" ".join([*apart, *interleaved, *([] if summary.decided else [remarks.NO_TEST])])))
    cost = remarks.cost(summary.money)
    if cost:
        yield from ("", plain(f"Cost{SIMULATED if summary.simulated else ''}: {', '.join(cost)}."))


def _table_of(summary: Summary, group: list[Answer]) -> Iterable[str]:
    """The answers of one measure."""
    strike = "~~" if summary.verdict.valid is False else ""
    rows = []
    for answer in group[:ROWS_MOST]:
        figures = [words.inline(answer.figures, p) for p in (0.5, 0.95, 0.99)] + [three(answer.figures.high)]
        cells = [f"{strike}{figure}{strike}" for figure in figures]
        share, numbers = words.failures(answer)
        rows.append([words.whose(answer.figures), count(answer.turns), *cells, f"{numbers} ({share})"])
    measure = plain(words.named(group[0].figures))
    yield from table((f"{measure}, ms", "turns", "p50 (95 %)", "p95 (95 %)", "p99 (95 %)", "slowest", "failed"), rows)
    if len(group) > ROWS_MOST:
        yield f"\n{len(group) - ROWS_MOST} more targets: report.html."


def _details(summary: Summary) -> Iterable[str]:
    yield from folded("Cost", _cost(summary))
    yield from folded("Limits of the service", _limits(summary))
    yield from folded("Segments of voice_to_voice", _segments(summary))
    yield from folded("Outcomes", _outcomes(summary))
    yield from folded("All measures", _measures(summary))
    yield from folded("Throughput", _throughput(summary))
    yield from folded("Harness health", _health(summary))
    yield from folded("Scatter and drift", _scatter(summary))
    yield from folded("Incidents", (f"- {plain(said)}" for said in remarks.incidents(summary, INCIDENTS_MOST)))
    yield from folded("Slowest turns", _slowest(summary))
    yield from folded("Targets", _targets(summary))
    yield from folded("Notes", [f"- {plain(notice)}" for notice in _notes(summary)])


def folded(title: str, body: Iterable[str]) -> Iterable[str]:
    """Lines that are shown on demand; nothing where there are none."""
    lines = list(body)
    if lines:
        yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>")


def _cost(summary: Summary) -> Iterable[str]:
    found = summary.money
    if not found.told:
        return
    head = ("target", "turns", "USD", "a turn", "a session", "a minute", "text in", "audio in", "cached", "text out")
    rows = []
    for cost in found.costs:
        amounts = [usd(cost.usd).removesuffix(f"{NBSP}USD")]
        amounts += [three(value) for value in (cost.per_turn, cost.per_session, cost.per_minute)]
        cached = percent(cost.tokens(*CACHED), cost.tokens(*INPUT))
        taken, made = ([count(cost.tokens(kind)) for kind in kinds] for kinds in (INPUT, OUTPUT))
        rows.append([cost.target, count(cost.turns), *amounts, *taken, cached, *made])
    yield from table((*head, "audio out"), rows)
    yield from ("", *(f"- {plain(note)}" for note in remarks.money(summary)))


def _limits(summary: Summary) -> Iterable[str]:
    said = remarks.limits(summary.quota)
    if said:
        yield f"{plain(said)}."
    for one in summary.quota.targets:
        for part in one.remaining:
            yield f"- {plain(one.target)}: at least {percent(float(part.share.min()), 1)} of its {part.limit} remained"


def _targets(summary: Summary) -> Iterable[str]:
    """A row for each fact, a column for each target."""
    rows = [[fact, *(arm.facts[fact] for arm in summary.arms)] for fact in FACTS]
    told = [row for row in rows if any(row[1:])]
    if told:
        yield from table(("", *(plain(name) for name in summary.targets)), told, left=len(summary.targets), last="---")
    yield from (f"\n{plain(said)}" for said in remarks.compression(summary))


def _segments(summary: Summary) -> Iterable[str]:
    """Means in ms; a list, for breakdowns have segments of their own."""
    for row in summary.bands:
        said = words.breakdown(row, summary)
        yield f"- **{plain(row.title)}**: {plain(said)}"
    for row in summary.breakdowns:
        step = "all steps" if row.step == ALL else row.step
        yield f"- {plain(step)}: {plain(words.breakdown(row, summary))}"
    if summary.breakdowns:
        yield from ("", plain(summary.setup.contained), "", plain(words.COMPARABLE))


def _scatter(summary: Summary) -> Iterable[str]:
    """What the size of a comparison hangs on, and whether waits drifted."""
    rows = [[words.named(figures), words.whose(figures), *figures_of(spread)] for figures, spread in summary.spreads]
    if rows:
        head = ("measure", "target", "sigma of log", "ICC", "design effect, p50", "p95")
        yield from table(head, rows, left=2)
    drifted = drift.said(summary.drifts)
    yield from ("", plain(drifted)) if drifted else ()


def _slowest(summary: Summary) -> Iterable[str]:
    head = ("wait", "target", "step, turn", "network\\_rtt", "sent again", "session")
    rows = [_slow(slow) for slow in summary.slowest]
    if rows:
        yield from table((*head, "response", "request", "region"), rows, last="---")


def _slow(slow: Slow) -> list[str]:
    resent = three(slow.retransmits)
    log = f" ({slow.event_log})" if slow.event_log else ""
    wait = f"{words.counted(slow.measure, slow.origin)} {ms(slow.value)}"
    beside = f", {words.counted('ttfa', slow.origin)} {ms(slow.ttfa)}" if slow.measure == HEARD else ""
    ids = [slow.session + log, slow.response, slow.request, slow.region]
    return [wait + beside, slow.target, f"{slow.step}, {slow.turn}", ms(slow.network_rtt), resent, *ids]


def _notes(summary: Summary) -> Iterable[str]:
    """The notices, and what is counted and has no table here."""
    yield from summary.notices
    for counts in summary.counts:
        said = [*([words.stalled(counts)] if counts.replies else []), *words.detection(counts)]
        yield from [f"{counts.target}: {', '.join(said)}."] if said else []
    yield from [summary.setup.packetisation] if summary.setup.packetisation else []


def _outcomes(summary: Summary) -> Iterable[str]:
    found = summary.outcomes
    if not sum(found.opened) and not sum(found.begun):
        return
    rows = [[e.outcome, *(count(n) for n in e.counts), e.words] for e in found.turns]
    rows.append(["lost turns", *(count(n) for n in found.lost), "wanted, never begun"])
    rates = [percent(found.failures(i), 1) if found.wanted[i] else "–" for i in range(len(summary.targets))]
    rows.append(["failures", *rates, "(failed + lost) ÷ turns wanted"])
    yield from table(("turns", *(plain(name) for name in summary.targets), "what it means"), rows, last="---")
    ends = [f"{plain(e.outcome)} {count(sum(e.counts))}" for e in found.sessions]
    if ends:
        yield from ("", f"{plural(sum(found.opened), 'session')}: {' · '.join(ends)}")
        yield from (f"- {plain(e.outcome)}: {plain(e.words)}" for e in found.sessions if e.said)


def _measures(summary: Summary) -> Iterable[str]:
    connecting = [f for f in summary.connecting if f.measure != "token_wait" or f.high]
    shown = [f for f in summary.measures if f.step == ALL] + connecting
    rows = [
        [
            words.named(f),
            words.whose(f),
            f.unit,
            count(f.n),
            count(f.failed),
            *(words.cell(f, p).figure for p in PS),
            three(f.high),
        ]
        for f in shown
    ]
    if rows:
        yield from table(("measure", "target", "unit", "n", "failed", "p50", "p90", "p95", "p99", "max"), rows, left=3)


def _throughput(summary: Summary) -> Iterable[str]:
    rows = [
        [t.measure, t.target, quantity(t.total_bytes), f"{quantity(t.mean_bytes_per_s)}/s"]
        for t in summary.throughput
        if t.total_bytes
    ]
    if rows:
        yield from table(("bytes", "target", "in all", "mean"), rows, left=2)


def _health(summary: Summary) -> Iterable[str]:
    words_of = {None: "nothing to judge", True: "✓ passed", False: "✕ failed"}
    rows = [
        [f"({rule.rule}) {rule.name}", rule.written(rule.figure), rule.written(rule.limit), words_of[rule.passed]]
        for rule in summary.verdict.rules
    ]
    if rows:
        yield from table(("check", "figure", "limit", "result"), rows, last="---")
        yield ""
    lines = [
        [d.measure, count(d.n), *(three(v) for v in (d.p50, d.p90, d.p95, d.p99, d.high))] for d in summary.harness
    ]
    if lines:
        yield from table(("harness, ms", "n", "p50", "p90", "p95", "p99", "max"), lines)
    for line in trust(summary.run):
        yield from ("", words.sentence(line))
