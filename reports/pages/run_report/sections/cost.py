"""The section on tokens and cost, and the cost in words."""

import math
from collections.abc import Iterable

from bench.catalogue.pricing import dollars
from reports.analysis.summary.cost import (
    CACHED,
    INPUT,
    OUTPUT,
    Charge,
    RunCost,
    TargetCost,
    UnplayedAudio,
)
from reports.analysis.summary.summary import Summary
from reports.formatting import (
    AT_LEAST,
    NBSP,
    NONE,
    count,
    format_number,
    join_words,
    percent,
    plural,
    usd,
)
from reports.pages.run_report.metric_tables import target_cell
from reports.render import blocks as b
from reports.text import phrases


def costs(summary: Summary) -> b.Section | None:
    """Return the section on tokens and cost; None if the services reported no usage and the user
    set no budget.
    """
    run_cost = summary.cost
    if not run_cost.is_known and run_cost.budget_usd is None:
        return None
    simulated = (b.Strong("◇ SIMULATED."), " ") if summary.simulated else ""
    blocks: b.Blocks = [b.Paragraph((simulated, phrases.as_sentence(", ".join(amounts(run_cost)))))]
    if run_cost.targets:
        inputs = INPUT if run_cost.has_images else INPUT[:-1]
        heads = (*COSTS, "image input" if run_cost.has_images else None, *OF_COSTS)
        rows = list[b.Line]()
        for cost in run_cost.targets:
            usd = (
                NONE
                if math.isnan(cost.usd)
                else f"{'≥ ' if cost.is_lower_bound else ''}{dollars(cost.usd)}"
            )
            rates = map(
                format_number, (cost.usd_per_turn, cost.usd_per_session, cost.usd_per_minute)
            )
            numbers = [cost.turns, cost.turns_without_usage, *map(cost.tokens, inputs)]
            cached = percent(cost.tokens(*CACHED), cost.tokens(*INPUT))
            outputs = [count(cost.tokens(kind)) for kind in OUTPUT]
            target = target_cell(summary, cost.target, marked=True)
            rows.append([target, usd, *rates, *map(count, numbers), cached, *outputs])
        blocks += [b.table(heads, rows), b.Paragraph(TOKENS, "note")]
    if run_cost.unplayed_audio is not None:
        wasted: list[b.Line] = [
            [target_cell(summary, cost.target, marked=True), *unplayed_audio(cost.unplayed_audio)]
            for cost in run_cost.targets
        ]
        blocks.append(b.table(("target", *UNPLAYED_REPLIES), wasted))
    blocks += [
        b.Paragraph(text, "note") for text in cost_notes(summary.cost, simulated=summary.simulated)
    ]
    names = OF_TOKENS | (OF_IMAGES if run_cost.has_images else {})
    names |= {"text_cache_write": "cache write"} if run_cost.has_cache_writes else {}
    names |= {"usd_per_minute": "USD per minute"} if run_cost.by_minute else {}
    names |= {"usd_per_standby_minute": "in standby"} if run_cost.has_standby else {}
    prices = [
        _prices(summary, cost.target, charge, names)
        for cost in run_cost.targets
        for charge in cost.models
    ]
    blocks += [b.Details("Prices", [b.table((*PRICES, *names.values()), prices)])] if prices else []
    details = b.fact("cost details", cost_texts(run_cost)[1:])
    return b.Section("money", "Cost", "What did it cost?", blocks, brief=details)


COSTS = (
    "target",
    "USD",
    "USD per turn",
    "per session",
    "per minute",
    "turns",
    "turns without usage",
    "text input",
    "audio input",
)
OF_COSTS = ("cached, of input", "text output", "audio output")
TOKENS = (
    "Tokens are those that the service reported in the usage of each turn. A minute is a minute of"
    " conversation: the time of sessions from the opened connection to the end."
)
PRICES = ("USD per million tokens", b.TextColumn("model"), b.TextColumn("source"))
OF_TOKENS = {
    "text_input": "text in",
    "text_cached_input": "cached",
    "text_output": "text out",
    "audio_input": "audio in",
    "audio_cached_input": "cached",
    "audio_output": "audio out",
}
OF_IMAGES = {"image_input": "image in", "image_cached_input": "cached"}


def _prices(summary: Summary, target: str, charge: Charge, names: Iterable[str]) -> b.Line:
    used = summary.cost
    prices = [getattr(charge.prices, name, None) for name in names]
    table_of = used.price_table or "table"
    if used.prices_as_of:
        table_of += f", as of {used.prices_as_of}"
    source = {"own": "the target’s own", "table": table_of}.get(charge.source, "unknown")
    model = f"{charge.model} (backend)" if charge.is_backend else charge.model
    texts = [NONE if price is None else f"{price:g}" for price in prices]
    return [target_cell(summary, target, marked=True), model, source, *texts]


WOULD = "SIMULATED: nothing was billed. This is what the same tokens would cost."
TRANSCRIPTION = "Input transcription is billed separately and is not included in this amount."
STRAY = (
    "A response to noise between turns, or one that ended after its turn, belongs to no turn but is"
    " billed."
)
WITHOUT_KINDS = (
    "the service did not report which tokens are text and which are audio. They count as text, so"
    " the amount is a lower bound."
)
UNPLAYED = (
    "Audio of interrupted replies that was received but never played is billed: its share of the"
    " turn’s audio tokens is its share of the duration of the received audio."
)
UNPLAYED_REPLIES = (
    "interrupted replies",
    "audio never played, s",
    "its tokens",
    "USD",
    "USD per interruption",
)
NAMED = 6
"""The maximum number of targets. If there are more, only the total cost is listed."""


def amounts(money: RunCost) -> list[str]:
    """Return the cost of a run as texts, such as `2.31 USD for 400 turns`, `0.0058 USD per turn`,
    `no price for gpt-x`.

    After the total there may be two parts of it: the cost of responses that belong to no turn, and
    the cost of unplayed audio in interrupted replies. If there are several targets, the cost of
    each comes after the total: `sweden 0.87 USD (0.0109 per turn)`. There are then no rates per
    turn or minute for the total. An amount without the tokens of a backend that has no price, or
    with tokens without a kind, is `at least 0.12 USD`.
    """
    missing = [unpriced(money)] if money.models_without_price else []
    if math.isnan(money.usd):
        return missing
    by_target = []
    for cost in _priced(money) if len(money.targets) > 1 else ():
        per_turn = (
            ""
            if math.isnan(cost.usd_per_turn)
            else f" ({format_number(cost.usd_per_turn)} per turn)"
        )
        by_target.append(
            f"{cost.target} {AT_LEAST if cost.is_lower_bound else ''}{usd(cost.usd)}{per_turn}"
        )
    # a lower bound includes the minutes of turns whose tokens have no price
    least, turns = (AT_LEAST, money.turns) if money.is_lower_bound else ("", money.turns_priced)
    total = f"{least}{usd(money.usd)} {'in total ' if by_target else ''}for {plural(turns, 'turn')}"
    texts = [total, *(by_target if len(by_target) <= NAMED else [])]
    if money.unattributed_usd:
        sessions = plural(money.unattributed_sessions, "session")
        texts.append(
            f"{usd(money.unattributed_usd)} of it for responses that belong to no turn ({sessions})"
        )
    if (waste := money.unplayed_audio) is not None and waste.usd:
        wasted = (
            f"{plural(waste.replies_priced, 'interruption')} ({format_number(waste.usd_per_reply)}"
            " each)"
        )
        texts.append(f"{usd(waste.usd)} of it for unplayed audio of {wasted}")
    rates = (
        {"turn": money.per_turn, "minute of conversation": money.per_minute}
        if not by_target
        else {}
    )
    texts += [
        f"{format_number(rate)}{NBSP}USD per {of}"
        for of, rate in rates.items()
        if not math.isnan(rate)
    ]
    return texts + missing


def _priced(money: RunCost) -> list[TargetCost]:
    return [cost for cost in money.targets if not math.isnan(cost.usd)]


def unplayed_audio(waste: UnplayedAudio) -> list[str]:
    """Return the values of unplayed audio of one target. They are in the order of the titles
    UNPLAYED_REPLIES.
    """
    amount = dollars(waste.usd) if waste.replies_priced else NONE
    return [
        count(waste.replies),
        format_number(waste.seconds),
        count(waste.audio_tokens),
        amount,
        format_number(waste.usd_per_reply),
    ]


BILLED_NOTHING = "◇ SIMULATED, nothing was billed"


def cost_texts(money: RunCost, *, simulated: bool = False) -> list[str]:
    """Return the cost of a run with its estimate and budget, as texts. Return [] if the run has
    neither prices nor a budget.
    """
    if not money.price_table and math.isnan(money.usd) and money.budget_usd is None:
        return []
    without_usage = (
        [f"{plural(money.turns_without_usage, 'turn')} without usage"]
        if money.turns_without_usage
        else []
    )
    if money.turns_without_kinds:
        without_usage.append(
            f"tokens of {plural(money.turns_without_kinds, 'turn')} without a kind count as text"
        )
    if money.sessions_unconfirmed:
        without_usage.append(
            f"minutes of {plural(money.sessions_unconfirmed, 'session')} unconfirmed"
        )
    budget = [f"budget {usd(money.budget_usd)}"] if money.budget_usd is not None else []
    estimate = (
        [f"estimated before the run{_estimated(money)}"] if money.estimate_usd is not None else []
    )
    texts = (
        [*amounts(money), *without_usage, *budget, *estimate] if money.is_known or budget else []
    )
    if not (texts and simulated):
        return texts
    if math.isnan(money.usd):
        return [*texts, BILLED_NOTHING]
    return [f"{BILLED_NOTHING}; the same tokens would cost {texts[0]}", *texts[1:]]


def unpriced(money: RunCost) -> str:
    """Return a text on models without a price, such as `no price for gpt-x (12 turns)`."""
    turns = money.turns - money.turns_priced
    return f"no price for {join_words(list(money.models_without_price))}" + (
        f" ({plural(turns, 'turn')})" if turns else ""
    )


def _estimated(money: RunCost) -> str:
    """Return the estimate. Estimates do not include the tokens of backends, whose tasks are
    unknown in advance.
    """
    ends = "" if money.estimate_usd is None else _between(money.estimate_usd)
    return f", without the tokens of backends: {ends}" if money.has_backends else f": {ends}"


def _between(ends: tuple[float, float]) -> str:
    return f"{usd(ends[0]).removesuffix(f'{NBSP}USD')} to {usd(ends[1])}"


def cost_notes(money: RunCost, *, simulated: bool) -> Iterable[str]:
    """Yield the sentences that explain the cost."""
    if simulated:
        yield WOULD
    if money.estimate_usd is not None:
        yield f"Estimated before the run{_estimated(money)}."
    if money.budget_usd is not None:
        known = money.budget_usd and not math.isnan(money.usd)
        spent = f"; {percent(money.usd, money.budget_usd)} of it was spent" if known else ""
        yield f"The budget was {usd(money.budget_usd)}{spent}."
    if money.models_without_price:
        yield (
            f"There is {unpriced(money)}: these tokens are counted, but not included in amounts. "
            "Set prices in targets.yaml, or pass a price table with --prices."
        )
    if money.sessions_unconfirmed:
        sessions = plural(money.sessions_unconfirmed, "session")
        yield (
            f"The service did not report the billable duration of {sessions}: the duration of the"
            " connection counts."
        )
    if money.turns_without_usage:
        have = "has" if money.turns_without_usage == 1 else "have"
        yield (
            f"{plural(money.turns_without_usage, 'turn')} {have} no readable token counts: amounts"
            " exclude them."
        )
    if money.turns_without_kinds:
        yield f"{plural(money.turns_without_kinds, 'turn')}: {WITHOUT_KINDS}"
    if money.unattributed_usd:
        yield STRAY
    if (waste := money.unplayed_audio) is not None:
        unknown = waste.replies - waste.replies_with_usage
        yield (
            f"{UNPLAYED} The tokens of {plural(unknown, 'reply', 'replies')} are unknown."
            if unknown
            else UNPLAYED
        )
    if money.input_transcription_extra:
        yield TRANSCRIPTION
    if money.turns_priced:
        yield "All turns of the run are included, also warm-up and failed turns."
