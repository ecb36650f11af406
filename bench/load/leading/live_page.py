"""What the tab Realtime of the web UI has above its table: the verdict so far, and each measure over time, as a page.

The page is drawn here and asked for again every few seconds; nothing of it runs in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby, pairwise

from bench.load.leading.tally import RECENT, TargetStanding, Wait

SAMPLE_S = 5
"""Seconds between two samples of a course."""
WIDE, HIGH, LEFT, BELOW = 560, 190, 52, 24
INKS = ("#0068a8", "#b84a00", "#5a2d91", "#00705a")
"""Colours of targets in their order; more than four begin again."""
BADGES = {True: ("ok", "✓"), False: ("no", "✕"), None: ("hm", "?")}
STYLE = (
    ":root{color-scheme:light dark;--ink:#1a1f24;--soft:#5a646e;--grid:#d5dae0;--bg:#fff}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a3adb7;--grid:#36404a;--bg:#12161a}}"
    "body{margin:12px 24px;background:var(--bg);color:var(--ink);font:15px/1.4 system-ui,sans-serif}"
    "b{padding:4px 12px;border:1.5px solid;border-radius:6px}.ok{color:#00705a;background:#e2f3ee}"
    ".no{color:#b3201a;background:#fbe6e4}.hm{color:#7d5200;background:#fbf0d9}.sim{color:#5a2d91;background:#efe6fa}"
    "p{margin:6px 0;color:var(--soft)}h2{font-size:15px;margin:14px 0 2px}svg{max-width:100%;font:12px system-ui}"
    "main{display:flex;flex-wrap:wrap;gap:0 32px}text{fill:var(--soft)}.grid{stroke:var(--grid)}"
    "path{fill:none;stroke-width:2}.tail{stroke-dasharray:6 3}"
)


def live_page(targets: Sequence[TargetStanding]) -> str:
    """The page: how the run stands, and a figure for each measure that has been measured often enough."""
    waits = [wait for target in targets for wait in target.waits if len(wait.course_ms) > 1]
    by_name = sorted(waits, key=lambda wait: wait.about)
    drawn = [_figure(about, list(group)) for about, group in groupby(by_name, lambda wait: wait.about)]
    few = f"<p>A figure over time begins with {RECENT} turns of a measure.</p>" if targets and not drawn else ""
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta http-equiv='refresh' content='5'>"
        f"<title>Realtime</title><style>{STYLE}</style>{_badges(targets)}{few}<main>{''.join(drawn)}</main></html>"
    )


def _badges(targets: Sequence[TargetStanding]) -> str:
    if not targets:
        return "<p>No run has begun.</p>"
    style, glyph = BADGES[targets[0].valid]
    simulated = "<b class='sim'>◇ SIMULATED</b> " if targets[0].simulated else ""
    return f"<p><b class='{style}'>{glyph} {escape(targets[0].verdict)}</b> {simulated}</p>"


def _figure(about: str, waits: Sequence[Wait]) -> str:
    """p50 solid and p95 dashed of the last turns, by target; what failed is a gap."""
    times = max(len(wait.course_ms) for wait in waits)
    told = [value for wait in waits for pair in wait.course_ms for value in pair if math.isfinite(value)]
    top, lines, names = _round_up(max(told, default=1.0)), [], []
    for place, wait in enumerate(waits):
        ink = INKS[place % len(INKS)]
        for style, values in zip(("", "tail"), zip(*wait.course_ms, strict=True), strict=True):
            path = _path(values, times, top)
            lines.append(f"<path d='{path}' stroke='{ink}' class='{style}'/>")
        names.append(f"<span style='color:{ink}'>● {escape(wait.arm)}</span>")
    ticks = [
        f"<line class='grid' x1='{LEFT}' x2='{WIDE}' y1='{y}' y2='{y}'/>"
        f"<text x='{LEFT - 6}' y='{y + 4}' text-anchor='end'>{top * share:,.0f}</text>"
        for share in (0, 0.5, 1)
        for y in [round(HIGH - BELOW - share * (HIGH - BELOW - 8))]
    ]
    minutes = (times - 1) * SAMPLE_S / 60
    ends = (
        f"<text x='{LEFT}' y='{HIGH - 4}'>{minutes:.1f} min ago</text>"
        f"<text x='{WIDE}' y='{HIGH - 4}' text-anchor='end'>now</text>"
    )
    said = f"p50 (solid) and p95 (dashed) of the last {RECENT} turns, ms"
    return (
        f"<figure style='margin:0'><h2>{escape(about)}</h2><p>{said} {' '.join(names)}</p>"
        f"<svg width='{WIDE}' height='{HIGH}' viewBox='0 0 {WIDE} {HIGH}' role='img' "
        f"aria-label='{escape(about)}: {said}'>{''.join(ticks)}{''.join(lines)}{ends}</svg></figure>"
    )


def _path(values: Iterable[float], times: int, top: float) -> str:
    """A line with a gap where a value has no end; it ends on the right, where now is."""
    every = list(values)
    first = times - len(every)
    x = [LEFT + (WIDE - LEFT) * (first + place) / max(1, times - 1) for place in range(len(every))]
    y = [HIGH - BELOW - value / top * (HIGH - BELOW - 8) for value in every]
    points = list(zip(x, y, strict=True))
    return "".join(
        f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}"
        for a, b in pairwise(points)
        if math.isfinite(a[1]) and math.isfinite(b[1])
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 …: where an axis ends."""
    size = 10.0 ** math.floor(math.log10(max(value, 1.0)))
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)
