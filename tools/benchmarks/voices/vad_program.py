"""The program that runs webrtcvad and Silero on streams (`vads`). It needs none of this
repository's modules.

`vad_program.py STREAMS.npz` prints, by detector, a list for each stream: the start and the end of
each speech in s.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import webrtcvad

MODE, FRAME_S, MIN_FRAMES = 2, 0.01, 3
THRESHOLD = 0.5


def main():
    streams = np.load(sys.argv[1])
    rated = [(streams[name], int(name.rsplit("-", 1)[1])) for name in sorted(streams.files)]
    silero = Silero()
    print(
        json.dumps(
            {
                "webrtcvad": [by_webrtc(*one) for one in rated],
                "silero": [silero.speech(*one) for one in rated],
            }
        )
    )


def by_webrtc(samples, rate_hz):
    """Return the speech of at least `MIN_FRAMES` frames."""
    vad, size = webrtcvad.Vad(MODE), round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return spans([vad.is_speech(frame.tobytes(), rate_hz) for frame in frames], FRAME_S, MIN_FRAMES)


class Silero:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        packages = Path(onnxruntime.__file__).parents[1]
        self._model = onnxruntime.InferenceSession(
            packages / "silero_vad" / "data" / "silero_vad.onnx",
            options,
            providers=["CPUExecutionProvider"],
        )

    def speech(self, samples, rate_hz):
        size, context = (512, 64) if rate_hz == 16_000 else (256, 32)
        frames = (
            (samples[: len(samples) // size * size] / 32_768).astype(np.float32).reshape(-1, size)
        )
        state, before, loud = np.zeros((2, 1, 128), np.float32), np.zeros(context, np.float32), []
        for frame in frames:
            inputs = {
                "input": np.concatenate([before, frame])[None],
                "state": state,
                "sr": np.array(rate_hz),
            }
            probability, state = self._model.run(None, inputs)
            before = frame[-context:]
            loud.append(float(probability[0, 0]) >= THRESHOLD)
        return spans(loud, size / rate_hz, 1)


def spans(is_speech, frame_s, min_frames):
    found, start = [], None
    for number, spoken in enumerate([*is_speech, False]):
        if spoken and start is None:
            start = number
        elif not spoken and start is not None:
            if number - start >= min_frames:
                found.append((start * frame_s, number * frame_s))
            start = None
    return found


main()
