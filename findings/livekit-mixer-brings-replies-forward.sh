#!/bin/sh
# Software: livekit 1.2.0 with numpy 2.4.6 (PyPI, Python), rtc.AudioMixer with its default settings: a caller who sends always, and an
#           agent who has frames only while it speaks, both in real time, mixed to one recording of the call.
# Expected: the recording has each reply where it was in the call. `stream_timeout_ms` (100 by default) is documented as the time that
#           the mixer waits for a stream before it leaves it out.
# Seen:     with each turn, the agent's reply is further ahead of the caller's sound than in the call, by 0.05 s here (0.03 to 0.17 s
#           with other lengths of the pauses): the tenth reply is 0.45 s early. The mixer waits for the first frame of a reply, and
#           then for a whole block of it, and mixes that with a block of the caller which began before the reply. The caller's later
#           frames wait meanwhile. The mixer goes on at the speed of the agent's sound, so they stay late, and the next reply adds to
#           it. With an agent who sends silence in its pauses, all replies are where they were. The log warns of timeouts only.
# Why:      the latency of a reply, measured in such a recording, gets better with each turn. A call of some ten turns ends with an
#           agent that answers before the caller has finished, and with barge-ins that no side made.
# Takes about a minute and a half.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install livekit==1.2.0 numpy==2.4.6
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio
import time

import numpy as np
from livekit import rtc

RATE = 48_000
FRAME = RATE // 100  # 10 ms
TURN = 205  # frames: a reply of 1 s, and about 1 s without one
REPLY = 100
REPLIES = 10
AGENT = 10_000  # value of the samples of a reply; those of the caller have the number of their frame


def frame(value):
    return rtc.AudioFrame(np.full(FRAME, value, np.int16).tobytes(), RATE, 1, FRAME)


async def ticks(start_s):
    """Yield the number of each frame at its time."""
    for number in range(REPLIES * TURN):
        await asyncio.sleep(max(0.0, start_s + number * 0.01 - time.monotonic()))
        yield number


async def caller(start_s):
    async for number in ticks(start_s):
        yield frame(number)


async def agent(start_s, silence):
    async for number in ticks(start_s):
        if number % TURN < REPLY:
            yield frame(AGENT)
        elif silence:
            yield frame(0)


async def record(silence):
    """Return by how many s each reply is ahead of the caller in the recording, compared with the call."""
    mixer = rtc.AudioMixer(RATE, 1)
    start_s = time.monotonic()
    mixer.add_stream(caller(start_s))
    mixer.add_stream(agent(start_s, silence))
    asyncio.get_running_loop().call_later(REPLIES * TURN * 0.01 + 3, mixer.end_input)
    parts = [np.frombuffer(part.data, np.int16) async for part in mixer]
    await mixer.aclose()
    sound = np.concatenate(parts).astype(int)
    speaks = sound >= AGENT
    starts = np.flatnonzero(speaks & ~np.concatenate([[False], speaks[:-1]]))
    with_caller = sound[starts] - AGENT  # the number of the caller's frame at the start of each reply
    return [(turn * TURN - number) * 0.01 for turn, number in enumerate(with_caller)]


async def main():
    silent = await record(silence=True)
    paused = await record(silence=False)
    print("each reply is ahead of the caller, in s, compared with the call:")
    print(f"  agent sends silence in its pauses: {' '.join(f'{ahead_s:.2f}' for ahead_s in silent)}")
    print(f"  agent has no frames in its pauses: {' '.join(f'{ahead_s:.2f}' for ahead_s in paused)}")
    same = (
        len(silent) == len(paused) == REPLIES
        and max(map(abs, silent)) < 0.15
        and 0.3 < paused[-1] < 1.7
        and all(later >= earlier for earlier, later in zip(paused, paused[1:]))
    )
    print("As described: each reply is further ahead." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
