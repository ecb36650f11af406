"""WebRTC with one track of audio and one data channel: everything except `call.py` and the requests of `signalling.py` is pure."""
