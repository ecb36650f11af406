"""Calls over WebRTC with a track of audio and a data channel: the sockets, the requests that place
a call, and relays. The engines are in `bench.protocols`.
"""
