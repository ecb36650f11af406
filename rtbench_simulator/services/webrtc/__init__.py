"""The WebRTC side of the simulator: calls at `POST …/realtime/calls`, whose events are on a data
channel.
"""
