"""The sample size of a comparison on a terminal: what it detects, and a table."""

import math

from reports.analysis.sample_size import SampleSize
from reports.analysis.summary.run_validity import TITLES
from reports.formatting import NBSP, NONE, count, format_duration, format_number, plural, usd
from reports.render.blocks import Blocks, Paragraph, TextColumn, table


def sample_size_blocks(size: SampleSize) -> list[Blocks]:
    """Return the warnings on the pilot, and the table with its heading."""
    error, power = (f"{format_number(100 * share)}{NBSP}%" for share in (size.alpha, size.power))
    unit = "points" if size.p is None else "%"
    effect, margin = (
        f"{format_number(100 * share)}{NBSP}"
        f"{'point' if unit == 'points' and share == 0.01 else unit}"
        for share in (size.detect, size.margin)
    )
    shared = (
        f", corrected for {size.primary_metrics} primary metrics (Holm)"
        if size.primary_metrics > 1
        else ""
    )
    sign = "−" if size.better == "higher" else "+"
    to_find = (
        f"to detect {sign}{effect} with a margin of {margin}, power {power}, type I error"
        f" {error}{shared}"
    )
    warnings: Blocks = []
    if size.validity != "valid":
        text = (
            f"The pilot is {TITLES[size.validity]}, so do not rely on this plan: use a valid run."
        )
        warnings.append(Paragraph(text, "bad"))
    if size.simulated:
        warnings.append(
            Paragraph("◇ SIMULATED: the pilot was simulated; a real service varies differently.")
        )
    heads = (TextColumn("size"), TextColumn("value"))
    return [warnings, [Paragraph(f"{size.title}: {to_find}", "bold")], [table(heads, _rows(size))]]


def _rows(size: SampleSize) -> list[tuple[str, str]]:
    noun = "pair" if size.paired else "session"
    duration = cost = NONE
    if math.isfinite(size.seconds):
        pace = f"{format_number(size.sessions_per_min)} {noun}s per minute"
        duration = f"{format_duration(size.seconds)}, both targets at once, at {pace}"
    if math.isfinite(size.usd):
        unit = "pair" if size.paired else "session of each"
        cost = f"{usd(size.usd)} for both targets, at {usd(size.usd_per_session)} for a {unit}"
    sigma, icc, deff_p50, deff_p95 = (
        NONE if math.isnan(value) else format_number(float(f"{value:.2g}"))
        for value in (size.sigma, size.icc, size.deff_p50, size.deff_p95)
    )
    power = f"{format_number(round(100 * size.power_of_pilot))}{NBSP}%"
    rows = {
        "pairs" if size.paired else "sessions per target": count(size.sessions),
        "with --primary 1": count(size.sessions_single_metric) if size.primary_metrics > 1 else "",
        f"to pass, none {'late' if size.deadline_ms else 'failed'}": count(
            size.sessions_to_pass or 0
        ),
        "duration": duration,
        "cost": cost,
        "power of the pilot": f"{power}, with {plural(size.pilot_sessions, noun)}",
        "turns per session": format_number(size.turns_per_session),
        "sigma, ICC": f"{sigma}, {icc}",
        "design effect": f"{deff_p50} at p50, {deff_p95} at p95",
    }
    return [(name, text) for name, text in rows.items() if text not in ("", "0")]
