#!/bin/sh
# Software: livekit-agents 1.8.9 with opentelemetry-sdk 1.45.2 (PyPI, Python), its OpenTelemetry metrics of latency per turn, with
#           the MeterProvider that the SDK makes by default (as livekit-agents itself does for its cloud).
# Expected: the histogram `lk.agents.turn.e2e_latency` of 100 turns tells turns of 0.5 to 1.5 s from turns of 3 to 4.5 s.
# Seen:     the values are in seconds, but livekit-agents states no bucket limits. Those of the SDK are made for milliseconds: 0, 5,
#           10, 25, up to 10,000. All turns of both agents are in one bucket, "0 to 5 s". The p95 that a dashboard computes from it
#           (`histogram_quantile` of Prometheus) is 4.75 s for each agent, and the median 2.5 s. Twelve histograms of seconds have
#           this, among them time to first token, time to first byte of speech, and `gen_ai.client.operation.time_to_first_chunk`.
# Why:      a dashboard of latency shows a level line, whatever a change or the load does to the agent. A comparison with a load
#           test finds 4.75 s where callers wait 1.45 s. A slow agent passes as well as a fast one.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install livekit-agents==1.8.9 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import statistics

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))

from livekit.agents import llm  # noqa: E402
from livekit.agents.telemetry import otel_metrics  # noqa: E402


def histogram_quantile(share, point):
    """As Prometheus: linear within the bucket that the rank falls into."""
    rank = share * point.count
    below = 0
    for i, count in enumerate(point.bucket_counts):
        if below + count >= rank and count:
            low = point.explicit_bounds[i - 1] if i else 0.0
            return low + (point.explicit_bounds[i] - low) * (rank - below) / count
        below += count
    raise AssertionError("no value")


latencies_s = {
    "fast": [0.5 + 0.01 * i for i in range(100)],
    "slow": [3.0 + 0.015 * i for i in range(100)],
}
for agent, values in latencies_s.items():
    history = llm.ChatContext.empty()
    for value in values:
        message = history.add_message(role="assistant", content="Hello.")
        message.metrics = {"e2e_latency": value, "llm_metadata": {"model_name": agent}}
    otel_metrics.flush_turn_metrics(history)  # livekit-agents calls it at the end of a job

same = True
(resource,) = reader.get_metrics_data().resource_metrics
points = [
    point
    for scope in resource.scope_metrics
    for metric in scope.metrics
    if metric.name == "lk.agents.turn.e2e_latency"
    for point in metric.data.data_points
]
print("bucket limits in s:", *(f"{bound:g}" for bound in points[0].explicit_bounds))
for point in points:
    agent = point.attributes["model_name"]
    true = statistics.quantiles(latencies_s[agent], n=20, method="inclusive")
    median, p95 = (histogram_quantile(share, point) for share in (0.5, 0.95))
    filled = [count for count in point.bucket_counts if count]
    print(f"{agent}: true median {true[9]:.2f} s, p95 {true[18]:.2f} s; buckets with turns: {filled};"
          f" of the histogram: median {median:.2f} s, p95 {p95:.2f} s")
    same &= filled == [100] and (median, p95) == (2.5, 4.75)
same &= len(points) == 2
print("As described: both agents have the same p95." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
venv/bin/python -W ignore show.py
