"""A path between two peers: ICE (RFC 8445) with STUN (RFC 8489).

The order: both sides describe candidates (`protocols.webrtc.description`), `ControllingAgent`
checks pairs of them, and nominates one; `LiteAgent` only answers (RFC 8445 §2.5). `stun` parses and
writes the messages of both.
"""
