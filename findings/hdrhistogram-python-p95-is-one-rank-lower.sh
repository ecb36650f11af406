#!/bin/sh
# Software: hdrhistogram 0.10.8 (PyPI, the Python port of HdrHistogram) and hdr-histogram-js 3.0.1 (npm, the JavaScript port).
# Expected: the ports give the same percentile of the same values, as they read each other's encoded histograms.
# Seen:     the Python port rounds the rank of a percentile to the nearest rank. The JavaScript port rounds up, as the definition
#           of a percentile requires. Of 15 values with one slow turn, Python's p95 is the second largest value, and
#           JavaScript's p95 is the largest. From 11 to 200 values, p95 differs at 90 of 190 sizes and p99 at 98, on the same
#           encoded histogram. The median never differs.
# Why:      the tail is what a voice test is about, and one rank in the tail is often seconds. Two tools that share a histogram
#           print two p95. The Python one is the lower, always.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    npm init -y && npm install --no-audit --no-fund hdr-histogram-js@3.0.1
    python3 -m venv venv && venv/bin/pip install hdrhistogram==0.10.8
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

# Prints, for each size: the size, p50, p95, p99, and the encoded histogram. One turn of 15 takes 3 s longer.
cat >percentiles.py <<'EOF'
from hdrh.histogram import HdrHistogram

for size in range(11, 201):
    histogram = HdrHistogram(1, 60_000, 3)
    for turn in range(size):
        histogram.record_value(600 + turn if turn % 15 else 3_600 + turn)
    values = (histogram.get_value_at_percentile(p) for p in (50, 95, 99))
    print(size, *values, histogram.encode().decode())
EOF

# Reads this, and prints each size with the percentiles of both ports of the same encoded histogram.
cat >percentiles.cjs <<'EOF'
const { decodeFromCompressedBase64 } = require("hdr-histogram-js");

const lines = require("node:fs").readFileSync("python.txt", "utf8").trim().split("\n");
const percentiles = [50, 95, 99];
const differ = { 50: 0, 95: 0, 99: 0 };
let higher = 0;
for (const line of lines) {
    const [size, ...rest] = line.split(" ");
    const python = rest.slice(0, 3).map(Number);
    const histogram = decodeFromCompressedBase64(rest[3]);
    const javascript = percentiles.map((p) => histogram.getValueAtPercentile(p));
    percentiles.forEach((p, i) => {
        if (python[i] !== javascript[i]) differ[p] += 1;
        if (python[i] > javascript[i]) higher += 1;
    });
    if (["15", "100", "200"].includes(size)) {
        console.log(`${size} values, p50 p95 p99 in ms: Python ${python.join(" ")}, JavaScript ${javascript.join(" ")}`);
    }
}
console.log(`of ${lines.length} sizes, Python and JavaScript differ in p50 at ${differ[50]}, in p95 at ${differ[95]}, `
    + `in p99 at ${differ[99]}; Python is higher at ${higher}`);
const same = differ[50] === 0 && differ[95] === 90 && differ[99] === 98 && higher === 0;
console.log(same ? "As described: Python's tail is lower." : "CHANGED.");
process.exit(same ? 0 : 1);
EOF
venv/bin/python percentiles.py >python.txt
node percentiles.cjs
