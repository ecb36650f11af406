"""Round trip against service time: (frame, width) → Plot, computing nothing."""

from __future__ import annotations

import math

from reports.numbers import count, ms, shortened
from reports.page.svg import WIDE, Plot, Scale, frame, identity, linear_ticks, log_scale, log_ticks, shape, tone
from reports.page.ways import GRIDS, Way, Ways


def scatter(ways: Ways, w: int) -> Plot:
    """A mark for each session, or hexagons by the number of sessions: what the way costs and what the service does."""
    named = [(way.colour, shortened(way.label, 24)) for way in ways.ways]
    plot = frame(
        w,
        310,
        named if len(named) > 1 else (),
        left=56,
        right=14,
        top=26,
        title="Network round trip against the service’s own time",
        desc="One mark for each session: across, its shortest round trip; up, the median of its ttfa_less_rtt. "
        + "; ".join(f"{v.label}: {count(v.sessions)} sessions, {ms(v.rtt_ms)} and {ms(v.rest_ms)}" for v in ways.ways)
        + ".",
    )
    x = Scale(identity, ways.low_rtt, ways.high_rtt, plot.x0, plot.x1)
    y = log_scale(ways.low_rest, ways.high_rest, plot.y0, plot.y1)
    plot.y_axis(y, log_ticks(ways.low_rest, ways.high_rest, 5), ms)
    ticks = linear_ticks(ways.low_rtt, ways.high_rtt, 4 if w < WIDE else 7)
    plot.x_axis(x, ticks, lambda v: ms(v) if v else "0", "network_rtt, the session’s shortest")
    plot.text(plot.x0, plot.y1 - 10, "ttfa_less_rtt, the session’s median", "lab")
    for way in ways.ways:
        with plot.of(way.colour):
            if way.marks is None:
                _hexagons(plot, way)
            else:
                places = [(x(rtt), y(rest)) for rtt, rest in zip(*way.marks, strict=True)]
                plot.dots(places, shape(way.colour), f"specks s{tone(way.colour)}", 2.6)
    return plot


def _hexagons(plot: Plot, way: Way) -> None:
    """Shades by the square root of the number of sessions, five of them."""
    size = int(plot.w < WIDE)
    columns, lines = GRIDS[size]
    wide, high = (plot.x1 - plot.x0) / columns, (plot.y0 - plot.y1) / lines
    cells = way.hexagons[size]
    most = int(cells[:, 2].max())
    outline = f"l{wide / 2:.1f} {high / 3:.1f}v{high * 2 / 3:.1f}l{-wide / 2:.1f} {high / 3:.1f}"
    outline += f"l{-wide / 2:.1f} {-high / 3:.1f}v{-high * 2 / 3:.1f}Z"
    for shade in range(1, 6):
        drawn = [
            f"M{plot.x0 + (column + 0.5 * (line % 2)) * wide:.1f} {plot.y0 - line * high - high * 2 / 3:.1f}{outline}"
            for column, line, n in cells.tolist()
            if math.ceil(5 * math.sqrt(n / most)) == shade
        ]
        if drawn:
            plot.add(f'<path d="{"".join(drawn)}" class="cell s{tone(way.colour)} k{shade}"/>')
