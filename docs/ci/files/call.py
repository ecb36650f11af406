"""The call that is measured: `call.yaml`, beside this file."""

from rtbench import RealtimeUser


class Caller(RealtimeUser):
    """A caller who types, so that a run is short; `audio: file.wav` instead of `text` makes one who speaks."""

    script = "call.yaml"
