"""Descriptions of media: SDP (RFC 8866), and the offer and its answer (RFC 3264), with the keys of
SRTP in them (SDES, RFC 4568).

`sdp` parses and writes one description. `offer_answer` writes an offer, accepts or makes the
answer, and returns what both peers agreed on (`AgreedMedia`).
"""
