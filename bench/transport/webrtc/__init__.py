"""WebRTC with a track of audio and a data channel: all but `call.py` and the requests of
`signalling.py` is pure.
"""
