"""report.md: verdict first, SIMULATED in plain sight, a table of the answer, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable

from reports.blocks import Block, Bullets, Cell, Fold, Heading, Inline, Paragraph, Strong, Table
from reports.numbers import NBSP, count, moment, ms, percent, plural, quantity, three, usd
from reports.summary import drift
from reports.summary.arms import FACTS
from reports.summary.drift import figures_of
from reports.summary.events import ALL, PS
from reports.summary.groups import By
from reports.summary.money import CACHED, INPUT, OUTPUT
from reports.summary.slowest import Slow
from reports.summary.summary import HEARD, CallerWait, Summary
from reports.text.markup import SIMULATED, coded, pour, table
from reports.wording import failings, groups, remarks, sentences, words

ROWS_MOST = 10
INCIDENTS_MOST = 20


def markdown(summary: Summary) -> str:
    """The file's text."""
    return pour((*_head(summary), *_answer(summary), *_details(summary)))


def _head(summary: Summary) -> Iterable[Block]:
    verdict = summary.verdict
    yield Heading(f"{verdict.glyph} {verdict.word}: {sentences.headline(summary)}")
    about = f"{summary.called} · {moment(summary.window.began_utc_ns)} · {words.lasted(summary)}"
    yield Paragraph((SIMULATED if summary.simulated else "", about))
    yield Paragraph(remarks.machine(summary))
    for rule in verdict.broken:
        remedy = f" What to do: {words.remedy(rule)}" if rule.remedy else ""
        yield Paragraph((Strong(words.rule_line(rule)), f" {words.rule_figure(rule)}{remedy}"))
    yield Paragraph(" ".join(filter(None, (summary.decided, sentences.heard(summary), failings.second(summary)))))
    if called := remarks.lines(summary):
        yield Paragraph(f"Calls: {'; '.join(called)}.")
    if flowed := remarks.throughput(summary):
        yield Paragraph(f"Throughput: {'; '.join(flowed)}.")


def _answer(summary: Summary) -> Iterable[Block]:
    if not sum(summary.outcomes.begun):
        return
    for group in words.tables(summary):
        yield _answers(summary, group)
        if len(group) > ROWS_MOST:
            yield Paragraph(f"{len(group) - ROWS_MOST} more targets: report.html.")
    if apart := remarks.differences(summary):
        interleaved = [summary.interleaving.sentence] if summary.interleaving else []
        yield Paragraph(" ".join([*apart, *interleaved, *([] if summary.decided else [remarks.NO_TEST])]))
    if cost := remarks.cost(summary.money):
        simulated = " (SIMULATED, what the same tokens would cost)" if summary.simulated else ""
        yield Paragraph(f"Cost{simulated}: {', '.join(cost)}.")


def _answers(summary: Summary, group: list[CallerWait]) -> Table:
    """The answers of one measure."""
    style = "struck" if summary.verdict.valid is False else ""
    rows: list[list[Cell | Inline]] = []
    for answer in group[:ROWS_MOST]:
        figures = [words.inline(answer.figures, p) for p in (0.5, 0.95, 0.99)] + [three(answer.figures.high)]
        cells = [Cell(figure, style=style) for figure in figures]
        share, numbers = words.failures(answer)
        rows.append([words.row_name(answer, group), count(answer.turns), *cells, f"{numbers} ({share})"])
    measure = words.about(group)
    return table((f"{measure}, ms", "turns", "p50 (95 %)", "p95 (95 %)", "p99 (95 %)", "slowest", "failed"), rows)


def _details(summary: Summary) -> Iterable[Block]:
    yield Fold("Cost", [*_cost(summary)])
    yield Fold("Limits of the service", [*_limits(summary)])
    yield Fold("By calls in progress", [*_waits(summary, "calls")])
    yield Fold("By host", [*_waits(summary, "host"), *_hosts(summary)])
    yield Fold("Segments of voice_to_voice", [*_segments(summary)])
    yield Fold("Rates", [*_rates(summary)])
    yield Fold("Outcomes", [*_outcomes(summary)])
    yield Fold("All measures", [_measures(summary)])
    yield Fold("Throughput", [_throughput(summary)])
    yield Fold("Harness health", [*_health(summary)])
    yield Fold("Scatter and drift", [*_scatter(summary)])
    yield Fold("Incidents", [Bullets([*remarks.incidents(summary, INCIDENTS_MOST)])])
    yield Fold("Slowest turns", [_slowest(summary)])
    yield Fold("Targets", [*_targets(summary)])
    yield Fold("Notes", [Bullets(_notes(summary))])


def _cost(summary: Summary) -> Iterable[Block]:
    money = summary.money
    if not money.told:
        return
    images = ["image in"] if money.has_images else []
    head = ("target", "turns", "USD", "a turn", "a session", "a minute", "text in", "audio in", *images, "cached")
    rows = []
    for cost in money.costs:
        amounts = [usd(cost.usd).removesuffix(f"{NBSP}USD")]
        amounts += [three(value) for value in (cost.per_turn, cost.per_session, cost.per_minute)]
        cached = percent(cost.tokens(*CACHED), cost.tokens(*INPUT))
        taken, made = ([count(cost.tokens(kind)) for kind in kinds] for kinds in (money.kinds_read, OUTPUT))
        rows.append([cost.target, count(cost.turns), *amounts, *taken, cached, *made])
    yield table((*head, "text out", "audio out"), rows)
    if money.waste is not None:
        yield table(("target", *remarks.WASTES), [[cost.target, *remarks.wasted(cost.waste)] for cost in money.costs])
    yield Bullets([*remarks.money(summary)])


def _limits(summary: Summary) -> Iterable[Block]:
    if limits := remarks.limits(summary.quota):
        yield Paragraph(f"{limits}.")
    shares = [(quota.target, part.limit, part.share) for quota in summary.quota.targets for part in quota.remaining]
    lowest = [(target, limit, percent(float(share.min()), 1)) for target, limit, share in shares]
    yield Bullets([f"{target}: at least {share} of its {limit} remained" for target, limit, share in lowest])


def _targets(summary: Summary) -> Iterable[Block]:
    """A row for each fact, a column for each target."""
    rows = [[fact, *(arm.facts[fact] for arm in summary.arms)] for fact in FACTS]
    yield table(("", *summary.targets), [row for row in rows if any(row[1:])], left=range(len(summary.targets) + 1))
    yield from map(Paragraph, remarks.compression(summary))


def _waits(summary: Summary, by: By) -> Iterable[Block]:
    """A table for each stratum of which the key says something."""
    for of in summary.waits_by(by):
        yield Paragraph(f"{groups.caption(of[0])}, ms, with 95 % intervals")
        yield groups.waits_table(of, summary.targets)


def _hosts(summary: Summary) -> Iterable[Block]:
    """What is known of the hosts of a run that several recorded."""
    if not summary.hosts:
        return
    head = ("host", "workers", "stamp_error", "start_lag", "hub_delay", "send_lag", "clock offset", "calibrated")
    yield Paragraph("p99 in ms of what each host's harness measured of itself")
    yield table(head, [words.host_facts(host) for host in summary.hosts], left=(0, -1))


def _with_interval(figure: str, below: str) -> str:
    """A figure and what stands below it on a page, in one cell."""
    return f"{figure} ({below})" if below else figure


def _segments(summary: Summary) -> Iterable[Block]:
    """Means in ms; a list, for breakdowns have segments of their own."""
    bands: list[Inline] = [(Strong(band.title), f": {words.breakdown(band, summary)}") for band in summary.bands]
    steps = [("all steps" if row.step == ALL else row.step, row) for row in summary.breakdowns]
    yield Bullets([*bands, *(f"{step}: {words.breakdown(row, summary)}" for step, row in steps)])
    if summary.breakdowns:
        yield from (Paragraph(summary.setup.contained), Paragraph(words.COMPARABLE))


def _rates(summary: Summary) -> Iterable[Block]:
    """A row for each rate and target that has turns of it."""
    rows: list[list[Cell | Inline]] = []
    for rate in summary.rates:
        shown = _with_interval(*words.rate_cell(rate))
        rows.append(
            [rate.name, rate.target, shown, count(rate.share.count), count(rate.share.of), count(rate.sessions)]
        )
    if rows:
        yield table(("rate", "target", "share (95 %)", "turns", "of", "sessions"), rows, left=(0, 1))


def _scatter(summary: Summary) -> Iterable[Block]:
    """What the size of a comparison hangs on, and whether waits drifted."""
    rows = [[words.named(figures), words.whose(figures), *figures_of(spread)] for figures, spread in summary.spreads]
    heads = ("measure", "target", "sigma of log", "ICC", "design effect, p50", "p95", "sessions count as")
    yield table(heads, rows, left=(0, 1))
    yield Paragraph(drift.said(summary.drifts))


def _slowest(summary: Summary) -> Table:
    head = ("wait", "target", "step, turn", "network_rtt", "sent again", "session", "response", "request", "region")
    return table(head, map(_slow, summary.slowest), left=(0, -1))


def _slow(slow: Slow) -> list[str]:
    resent = three(slow.retransmits)
    log = f" ({slow.event_log})" if slow.event_log else ""
    wait = f"{words.counted(slow.measure, slow.stratum)} {ms(slow.value)}"
    beside = f", {words.counted('ttfa', slow.stratum)} {ms(slow.ttfa)}" if slow.measure == HEARD else ""
    ids = [slow.session + log, slow.response, slow.request, slow.region]
    return [wait + beside, slow.target, f"{slow.step}, {slow.turn}", ms(slow.network_rtt), resent, *ids]


def _notes(summary: Summary) -> list[str]:
    """The notices, and what is counted and has no table here."""
    notes = groups.notices(summary)
    for counts in summary.counts:
        shares = [*([words.stalled(counts)] if counts.replies else []), *words.detection(counts)]
        notes += [f"{counts.target}: {', '.join(shares)}."] if shares else []
    return [*notes, *filter(None, [summary.setup.packetisation])]


def _outcomes(summary: Summary) -> Iterable[Block]:
    outcomes = summary.outcomes
    if not sum(outcomes.opened) and not sum(outcomes.begun):
        return
    rows = [[e.outcome, *(count(n) for n in e.counts), e.words] for e in outcomes.turns]
    rows.append(["lost turns", *(count(n) for n in outcomes.lost), "wanted, never begun"])
    rates = [percent(outcomes.failures(i), 1) if outcomes.wanted[i] else "–" for i in range(len(summary.targets))]
    rows.append(["failures", *rates, "(failed + lost) ÷ turns wanted"])
    yield table(("turns", *summary.targets, "what it means"), rows, left=(0, -1))
    if ends := [f"{e.outcome} {count(sum(e.counts))}" for e in outcomes.sessions]:
        yield Paragraph(f"{plural(sum(outcomes.opened), 'session')}: {' · '.join(ends)}")
        yield Bullets([f"{e.outcome}: {e.words}" for e in outcomes.sessions if e.said])
    if remedies := outcomes.remedies():
        yield Paragraph("What to do:")
        yield Bullets([remedy.line for remedy in remedies])


def _measures(summary: Summary) -> Table:
    connecting = [f for f in summary.connecting if f.measure != "token_wait" or f.high]
    shown = [*(f for f in summary.measures if f.step == ALL), *connecting, *summary.slopes]
    head = ("measure", "target", "unit", "wanted", "reached", "p50", "p90", "p95", "p99", "max")
    rows = []
    for f in shown:
        figures = (words.cell(f, p).figure for p in PS)
        counted = count(f.wanted), words.reached(f).figure
        rows.append([words.named(f), words.whose(f), f.unit, *counted, *figures, three(f.high)])
    return table(head, rows, left=(0, 1, 2))


def _throughput(summary: Summary) -> Table:
    rows = [
        [t.measure, t.target, quantity(t.total_bytes), f"{quantity(t.mean_bytes_per_s)}/s"]
        for t in summary.throughput
        if t.total_bytes
    ]
    return table(("bytes", "target", "in all", "mean"), rows, left=(0, 1))


def _health(summary: Summary) -> Iterable[Block]:
    results = {None: "nothing to judge", True: "✓ passed", False: "✕ failed"}
    rows = [
        [f"({rule.rule}) {rule.name}", rule.written(rule.figure), rule.written(rule.limit), results[rule.passed]]
        for rule in summary.verdict.rules
    ]
    yield table(("check", "figure", "limit", "result"), rows, left=(0, -1))
    delays = [
        [d.measure, count(d.n), *(three(v) for v in (d.p50, d.p90, d.p95, d.p99, d.high))] for d in summary.harness
    ]
    yield table(("harness, ms", "n", "p50", "p90", "p95", "p99", "max"), delays)
    yield from (Paragraph(coded(line)) for line in words.trusted(summary))
    yield table(words.INEXACT_HEADS, words.inexact_rows(summary), left=(0, 1, 2))
