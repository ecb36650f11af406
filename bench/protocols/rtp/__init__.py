"""Audio in packets: RTP and RTCP (RFC 3550), its profiles for G.711, G.722 and Opus
(RFC 3551, RFC 7587), SRTP (RFC 3711), and the jitter buffer.

The order for a received packet: `srtp` decrypts it, `rtp` parses and counts it, `offset` estimates
the delay from the sender's clock to this one, and `jitter` decides which frame is played when.
`packets` does all of it at once for usual packets. To send: the codec, `rtp`, `srtp`. `rtcp` has
the reports of both directions.
"""
