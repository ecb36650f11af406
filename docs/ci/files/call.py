"""The call that is measured: `call.yaml`, next to this file."""

from rtbench import RealtimeUser


class Caller(RealtimeUser):
    """A caller who types, so that a run is short; `audio: file.wav` instead of `text` makes the caller speak."""

    script = "call.yaml"
