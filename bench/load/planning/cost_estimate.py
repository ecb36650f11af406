"""Estimates of the cost of a run before it starts, from its scripts, with bounds for what is
unknown.

Assumptions:

- Text has four characters per token. If a script has no instructions, those of the service have 150
  tokens.
- The caller's audio has 10 tokens per second of committed audio. Without turn detection, the
  recording is committed. With turn detection, the service commits only what it detects as speech,
  so the silence of an open microphone costs nothing. The lower bound is the speech alone. The upper
  bound is the recording, plus the padding and silence that turn detection adds. If a step has
  several recordings, the bounds use the shortest and the longest.
- A spoken reply has 3 to 20 s of audio at 20 tokens per second, and 3 tokens of text per 8 tokens
  of audio, as in Azure's example. A text reply has 30 to 150 tokens. `max_output_tokens` limits
  both.
- Each response reads the whole conversation again, including earlier replies. The part that was
  read before comes from the cache (lower bound), or is not cached (upper bound).
- A message costs its text and its image. The cost of an image depends on its number of 512-pixel
  tiles. Messages of the history count, too.
- An out-of-band response reads its own input, if it has one. Later responses do not read the
  out-of-band response.
- A turn that expects function calls, or in which a call is required, has one or more further
  responses. They read the conversation with the calls and their outputs. In the lower bound, one
  silent response makes all calls. In the upper bound, each call has its own response, which is as
  long as the shortest reply. If calls are optional, the model makes none (lower bound) or one per
  turn (upper bound).
- A session that only transcribes is billed by the minute of its audio: of the recordings, and with
  turn detection also of the pauses.
- A session that is billed by the minute lasts as long as the caller's speech, pauses, functions and
  replies together, and at least as long as its creation bills.
- If a backend of the service may do tasks, only the minutes are included. The
  number of tasks, and the text that the backend reads, are unknown in advance. The sentence says
  so.
- A task in Python counts with the steps that it ran in its rehearsal (100 at most).

Not included are the transcription of the caller's audio, which is billed separately; replies to a
pause that the service detects as the end of speech; and failures.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.base.units import S_PER_MINUTE
from bench.catalogue.pricing import BilledModel, Prices, dollars, tariff_of
from bench.plan.functions import ExpectedFunctionCall, ScriptFunction
from bench.plan.recordings import RATE_HZ, Pcm
from bench.plan.script import Script
from bench.plan.steps import is_turn
from bench.plan.turns import ScriptTurn
from bench.target.price_table import GIVE_PRICES, usage_usd
from bench.target.target import Target
from bench.wire.events import TOKEN_KINDS, TokenUsage
from bench.wire.settings import (
    ONLY_TRANSCRIPT,
    Image,
    Message,
    SessionSettings,
    TurnDetection,
    text_at,
)

# One walk through a script gives both bounds, with another set of assumptions each (`LOW`, `HIGH`).
# So a bound can never miss a part of a session that the other one has. What no assumption can
# bound, such as the tokens of a backend, is named in the sentence and not in the number.
CHARACTERS_PER_TOKEN = 4
CALLER_TOKENS_PER_S = 10
REPLY_TOKENS_PER_S = 20
REPLY_TEXT_SHARE = 3 / 8
"""The number of text tokens per audio token of a spoken reply."""
DEFAULT_INSTRUCTIONS_TOKENS = 150
MAX_PIXELS = 2_048
MIN_PIXELS = 768
TILE_PIXELS = 512
"""An image is scaled to fit into a square of MAX_PIXELS, its shorter side at most MIN_PIXELS,
and then tiled."""
IMAGE_TOKENS = 85
TILE_TOKENS = 170
NO_TOKENS = TokenUsage()
PADDING_MS = 300
SILENCE_MS = {"server_vad": 500, "semantic_vad": 8000}
"""The default durations of audio that turn detection adds before speech, and of the silence that
ends speech. A service without turn events commits nothing."""


@dataclass(frozen=True)
class CostAssumptions:
    """The assumptions for one bound of an estimate.

    `speech_s` is the length of a spoken reply, in seconds. `written` is the length of a text reply,
    in tokens. `function_calls` is the minimum number of tokens of a function call's arguments. It
    is also the number of tokens of an output that is unknown in advance. `cached` is True if input
    that was read before comes from the cache. `whole_recordings` is True if the whole recording is
    committed, and not only the speech. `calls_freely` is True if the model makes calls that are
    optional; it then speaks briefly before each call, makes one call after the other, and gets the
    longest of the possible outputs.
    """

    speech_s: float
    written: int
    function_calls: int
    cached: bool
    whole_recordings: bool
    calls_freely: bool


LOW = CostAssumptions(
    speech_s=3.0,
    written=30,
    function_calls=0,
    cached=True,
    whole_recordings=False,
    calls_freely=False,
)
HIGH = CostAssumptions(
    speech_s=20.0,
    written=150,
    function_calls=150,
    cached=False,
    whole_recordings=True,
    calls_freely=True,
)


@dataclass(frozen=True)
class SessionCost:
    """The estimated cost of one session with a target.

    `target` is the target's label. `usd` is (lower bound, upper bound); None if no price is known.
    `basis` is a text about the model and the source of the prices. `has_audio` is True if some
    replies are audio. `transcribed` is True if the caller's speech is also transcribed, which the
    estimate does not include. `backends` are the models that do tasks, whose tokens it
    does not include either; each is True if its tokens have a price.
    """

    target: str
    model: str
    usd: tuple[float, float] | None
    basis: str
    has_audio: bool
    transcribed: bool
    backends: Mapping[str, bool] = field(default_factory=dict)


def session_cost(
    target: Target, scripts: Collection[Script], table: Mapping[str, Prices], as_of: str
) -> SessionCost:
    """Estimate the cost of a session, by the target's own prices, or else those of `table`, of
    the date `as_of`.
    """
    sessions = [script.session for script in scripts]
    # the URL of a service with a backend names no model
    named = (
        next((session.model for session in sessions if session.model), None)
        if target.terms.has_backend
        else None
    )
    transcribers = [
        session.input_transcription.model for session in sessions if session.input_transcription
    ]
    has_replies = any(session.output != ONLY_TRANSCRIPT for session in sessions)
    transcriber = transcribers[0] if transcribers and not has_replies else None
    tariff = tariff_of(table, target.terms, BilledModel(transcriber or named))
    model = tariff.model or target.label
    prices = tariff.prices
    has_deployments = target.known_service is not None and target.known_service.has_deployments
    basis = f"if {model} is the model of the deployment" if has_deployments else model
    usd = None
    by_tokens = transcriber is not None and prices is not None and prices.of_tokens
    # from the cheapest script at the lower bound to the dearest at the upper
    if prices and scripts and not by_tokens:
        usd_of = _usd_of_minutes if target.terms.has_backend else _usd
        low_usd, high_usd = (
            [usd_of(script, assumed, prices) for script in scripts] for assumed in (LOW, HIGH)
        )
        prepaid_usd = target.terms.prepaid_s / S_PER_MINUTE * prices.usd_per_minute
        usd = max(prepaid_usd, min(low_usd)), max(prepaid_usd, *high_usd)
    return SessionCost(
        target.label,
        model,
        usd,
        f"prices of the target {target.label}" if target.prices else f"{basis}, prices of {as_of}",
        has_audio=any(
            _is_spoken(turn, script.session) for script in scripts for turn in script.turns
        ),
        transcribed=any(
            session.input_transcription and session.output != ONLY_TRANSCRIPT
            for session in sessions
        ),
        backends={
            backend: (
                tariff_of(table, target.terms, BilledModel(backend, is_backend=True)).prices
                is not None
            )
            for session in sessions
            if (backend := text_at(target.dialect.backend_model, msgspec.structs.asdict(session)))
        },
    )


def estimate(costs: Collection[SessionCost], sessions: int) -> tuple[float, float] | None:
    """Return (lower bound, upper bound) in USD for `sessions` with each target; None if a target
    has no price.
    """
    ranges = [cost.usd for cost in costs if cost.usd is not None]
    if len(ranges) < len(costs):
        return None
    return sessions * sum(low for low, _ in ranges), sessions * sum(high for _, high in ranges)


def amount_text(costs: Collection[SessionCost], sessions: int | None) -> str:
    """Return the estimated amount, without its assumptions. `sessions` is None without a limit."""
    known = priced(costs)
    unknown = [cost for cost in costs if cost.usd is None]
    usd = estimate(known, sessions or 1)
    if usd is None or not known:
        return f"the cost cannot be estimated, because {_no_price(unknown)}"
    sessions_text = (
        "a session" if sessions is None else f"{sessions} session{'' if sessions == 1 else 's'}"
    )
    lone = f" with {_listed(cost.target for cost in known)}" if unknown else ""
    targets_text = f" with each of {len(known)} targets" if len(known) > 1 else lone
    return f"about {dollars(usd[0])} to {dollars(usd[1])} USD for {sessions_text}{targets_text}"


def estimate_text(costs: Collection[SessionCost], sessions: int | None) -> str:
    """Return the estimate as a sentence, which names targets without a price. `sessions` is None
    without a limit.
    """
    known = priced(costs)
    unknown = [cost for cost in costs if cost.usd is None]
    amount = amount_text(costs, sessions)
    if not known:
        return amount
    basis = "; ".join(dict.fromkeys(cost.basis for cost in known))
    are = "is" if len(unknown) == 1 else "are"
    unpriced_note = (
        f"; {_listed(cost.target for cost in unknown)} {are} not included, because"
        f" {_no_price(unknown)}"
    )
    spoken = any(cost.has_audio for cost in known)
    replies = (
        f"{LOW.speech_s:.0f} to {HIGH.speech_s:.0f} s"
        if spoken
        else f"{LOW.written} to {HIGH.written} tokens"
    )
    transcription_note = (
        "; transcription is not included" if any(cost.transcribed for cost in known) else ""
    )
    notes = f"{transcription_note}{_backend_note(costs)}{unpriced_note if unknown else ''}"
    return f"{amount} ({basis}); replies of {replies} are assumed{notes}"


def _backend_note(costs: Collection[SessionCost]) -> str:
    """Return a note about the tokens of backends; "" if there is none."""
    backends = {name: is_priced for cost in costs for name, is_priced in cost.backends.items()}
    if not backends:
        return ""
    unpriced = [name for name, is_priced in backends.items() if not is_priced]
    no_price = f", and no price of {_listed(unpriced)} is known: {GIVE_PRICES}" if unpriced else ""
    return f"; tokens of the backend {_listed(backends)} are not included{no_price}"


def priced(costs: Iterable[SessionCost]) -> list[SessionCost]:
    return [cost for cost in costs if cost.usd is not None]


def below_estimate(
    budget_usd: float | None, costs: Collection[SessionCost], sessions: int | None
) -> str:
    """Return a notice if the budget is below the lower bound of the cost of `sessions` with each
    target; else "".
    """
    usd = None if sessions is None else estimate(priced(costs), sessions)
    if usd is None or budget_usd is None or budget_usd >= usd[0]:
        return ""
    bound_text = f"the lower estimate ({dollars(usd[0])})"
    return f"the budget of {dollars(budget_usd)} USD is below {bound_text}: the run will end early"


def _no_price(costs: Iterable[SessionCost]) -> str:
    return f"no price of {_listed(cost.model for cost in costs)} is known: {GIVE_PRICES}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# The tokens of a session.


def _usd(script: Script, assumed: CostAssumptions, prices: Prices) -> float:
    return usage_usd(prices, session_usage(script, assumed)) + _usd_of_minutes(
        script, assumed, prices
    )


def _usd_of_minutes(script: Script, assumed: CostAssumptions, prices: Prices) -> float:
    """Return the cost of a session's minutes alone."""
    return session_minutes(script, assumed) * prices.usd_per_minute


def session_minutes(script: Script, assumed: CostAssumptions) -> float:
    if script.session.output == ONLY_TRANSCRIPT:
        audio_s = sum(
            max((pcm.seconds for pcm in turn.recordings), default=0.0) for turn in script.turns
        )
        return (audio_s + (script.think_s if script.session.turn_detection else 0.0)) / S_PER_MINUTE
    functions = {function.tool.name: function for function in script.tools}
    took_s = script.lasts_s
    for turn in script.turns:
        rounds = _rounds(turn, script, assumed)
        took_s += sum(max(functions[call.name].mean_delay_s for call in calls) for calls in rounds)
        if _is_spoken(turn, script.session):
            took_s += assumed.speech_s + len(rounds) * assumed.calls_freely * LOW.speech_s
    return took_s / S_PER_MINUTE


def session_usage(script: Script, assumed: CostAssumptions) -> TokenUsage:
    if script.session.output == ONLY_TRANSCRIPT:
        return NO_TOKENS
    functions = {function.tool.name: function for function in script.tools}
    talk = _Conversation(
        assumed.cached, _messages(script.history.messages if script.history else ())
    )
    for step in script.steps:
        talk.held += _messages(step.said)
        if not is_turn(step):
            continue
        if step.recordings:
            committed_s = [
                _committed_s(pcm, script.session.turn_detection, assumed) for pcm in step.recordings
            ]
            longest = max if assumed.whole_recordings else min
            talk.held += TokenUsage(audio_in=round(CALLER_TOKENS_PER_S * longest(committed_s)))
        before = _reply(step, script.session, LOW) if assumed.calls_freely else NO_TOKENS
        for calls in _rounds(step, script, assumed):
            # The tokens of the arguments, if the script has them. The next response reads the
            # outputs.
            written = (
                max(_text(msgspec.json.encode(call.arguments).decode()), assumed.function_calls)
                for call in calls
            )
            talk.respond(step, script.session, before + TokenUsage(text_out=sum(written)))
            talk.held += TokenUsage(
                text_in=sum(_returned(functions[call.name], assumed) for call in calls)
            )
        choice = step.response.tool_choice or script.session.tool_choice
        # a call, and as long a result
        if assumed.calls_freely and script.session.mcp_servers and choice != "none":
            talk.respond(step, script.session, before + TokenUsage(text_out=assumed.function_calls))
            talk.held += TokenUsage(text_in=assumed.function_calls)
        talk.respond(step, script.session, _reply(step, script.session, assumed))
    return talk.total


@dataclass
class _Conversation:
    """The tokens that a session has read and written.

    `held` are the tokens of the whole conversation. `known` are the tokens that were read before,
    and so may come from the cache. `cached` is True if they do. `total` are all tokens that are
    billed.
    """

    cached: bool
    held: TokenUsage
    known: TokenUsage = NO_TOKENS
    total: TokenUsage = NO_TOKENS

    def respond(self, turn: ScriptTurn, session: SessionSettings, written: TokenUsage) -> None:
        """Add a response of `written` tokens, which reads the whole conversation, or only the
        turn's own input.
        """
        own_input = turn.response.input
        instructions = turn.response.instructions or session.instructions
        tokens = DEFAULT_INSTRUCTIONS_TOKENS if instructions is None else _text(instructions)
        tokens += _text(msgspec.json.encode(session.tools).decode()) if session.tools else 0
        read = (self.held if own_input is None else _messages(own_input)) + TokenUsage(
            text_in=tokens
        )
        self.total += (_with_cached(read, self.known) if self.cached else read) + written
        if not turn.response.out_of_band:
            output_as_input = TokenUsage(text_in=written.text_out, audio_in=written.audio_out)
            self.held += output_as_input
            self.known = read + output_as_input


def _rounds(
    turn: ScriptTurn, script: Script, assumed: CostAssumptions
) -> Sequence[Sequence[ExpectedFunctionCall]]:
    """Return the function calls of a turn, as one list for each response that makes calls.

    The calls are those that the turn expects. If it states none, they are those that the settings
    require or permit.
    """
    choice = turn.response.tool_choice or script.session.tool_choice or "auto"
    declared = {function.tool.name for function in script.tools}
    if turn.expected_calls is not None or not declared or choice == "none":
        calls = [call for call in turn.expected_calls or () if call.name in declared]
    elif choice == "auto" and not assumed.calls_freely:
        calls = []
    else:
        candidates = [
            function for function in script.tools if function.tool.name == choice
        ] or script.tools
        outer = max if assumed.calls_freely else min
        calls = [
            ExpectedFunctionCall(
                outer(candidates, key=lambda function: _returned(function, assumed)).tool.name
            )
        ]
    if assumed.calls_freely:
        return [[call] for call in calls]
    return [calls] if calls else []


def _returned(function: ScriptFunction, assumed: CostAssumptions) -> int:
    """Return the number of tokens of a function's output, which is unknown in advance if it is
    Python code.
    """
    if function.compute is not None:
        return assumed.function_calls
    token_counts = [_text(function.output({}, number)) for number in range(len(function.returns))]
    return max(token_counts) if assumed.calls_freely else min(token_counts)


def _messages(messages: Iterable[Message]) -> TokenUsage:
    usages = (
        TokenUsage(text_in=_text(message.text), image_in=_image_tokens(message.image))
        for message in messages
    )
    return sum(usages, NO_TOKENS)


def _image_tokens(image: Image | None) -> int:
    """Return the number of tokens of an image, by its size, as GPT-4o counts them; other models
    may differ.
    """
    if image is None:
        return 0
    within = min(1, MAX_PIXELS / max(image.width, image.height))
    scale = within * min(1, MIN_PIXELS / (within * min(image.width, image.height)))
    across, down = (
        -(-round(pixels * scale) // TILE_PIXELS) for pixels in (image.width, image.height)
    )
    return IMAGE_TOKENS + TILE_TOKENS * max(1, across) * max(1, down)


def _with_cached(read: TokenUsage, known: TokenUsage) -> TokenUsage:
    """Return the input `read`, but with those of its tokens that are also in `known` counted as
    cached.
    """
    both = {
        f"{kind}_in": min(getattr(read, f"{kind}_in"), getattr(known, f"{kind}_in"))
        for kind in TOKEN_KINDS
    }
    cached = {f"cached_{name}": tokens for name, tokens in both.items()}
    return msgspec.structs.replace(read, cached_in=sum(cached.values()), **cached)


def _text(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _committed_s(pcm: Pcm, detection: TurnDetection | None, assumed: CostAssumptions) -> float:
    if detection is None:
        return pcm.seconds
    if not assumed.whole_recordings:
        return (pcm.speech.end - pcm.speech.begin) / RATE_HZ
    padding_ms = PADDING_MS if detection.prefix_padding_ms is None else detection.prefix_padding_ms
    silence_ms = detection.silence_duration_ms or SILENCE_MS.get(detection.type, 0)
    return pcm.seconds + (padding_ms + silence_ms) / 1000


def _reply(turn: ScriptTurn, session: SessionSettings, assumed: CostAssumptions) -> TokenUsage:
    cap = turn.response.max_output_tokens or session.max_output_tokens
    max_tokens = None if cap == "inf" else cap
    if not _is_spoken(turn, session):
        return TokenUsage(
            text_out=assumed.written if max_tokens is None else min(assumed.written, max_tokens)
        )
    audio = assumed.speech_s * REPLY_TOKENS_PER_S
    if max_tokens is not None:
        audio = min(audio, max_tokens / (1 + REPLY_TEXT_SHARE))
    return TokenUsage(text_out=round(audio * REPLY_TEXT_SHARE), audio_out=round(audio))


def _is_spoken(turn: ScriptTurn, session: SessionSettings) -> bool:
    return (turn.response.output or session.output) == "audio"
