"""WebRTC with one track of audio: everything except `call.py` and the requests of `signalling.py` is pure."""
