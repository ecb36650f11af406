"""The metrics by the names that other tools, and many users, give to them."""

from collections.abc import Iterable

from bench.base.suggestions import did_you_mean

LATENCIES = ("ttfa", "voice_to_voice")
OTHER_NAMES = {
    **dict.fromkeys(
        ("latency", "latencies", "delay", "duration", "e2e", "e2e_latency", "turn_latency"),
        LATENCIES,
    ),
    **dict.fromkeys(
        ("response_latency", "http_req_duration", "iteration_duration", "http.response_time"),
        LATENCIES,
    ),
    **dict.fromkeys(
        ("ttfb", "time_to_first_byte", "time_to_first_audio", "first_audio", "http_req_waiting"),
        ("ttfa",),
    ),
    **dict.fromkeys(("time_to_first_token", "first_token", "first_text"), ("ttft",)),
    **dict.fromkeys(("v2v", "mouth_to_ear", "turn_gap"), ("voice_to_voice",)),
    **dict.fromkeys(
        ("error_rate", "errors", "fail_rate", "failures", "failed", "http_req_failed"),
        ("failure_rate",),
    ),
    **dict.fromkeys(("rtt", "ping"), ("network_rtt",)),
    **dict.fromkeys(("wer", "word_error_rate"), ("input_wer", "reply_wer")),
    **dict.fromkeys(("loss", "packet_loss"), ("rtp_loss",)),
    **dict.fromkeys(("jitter",), ("rtp_jitter",)),
    **dict.fromkeys(
        ("barge_in", "interruption", "interruption_latency", "time_to_yield"), ("barge_in_yield",)
    ),
}
"""Our metrics by the names of k6, Artillery, pipecat, LiveKit and voice evaluations."""


def meant_metric(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?`, or `;` if neither another name nor a similar one is known."""
    allowed = list(known)
    other = OTHER_NAMES.get(name.lower().replace("-", "_"), ())
    names = [metric for metric in other if metric in allowed]
    return f"; did you mean {' or '.join(names)}?" if names else did_you_mean(name, allowed) or ";"
