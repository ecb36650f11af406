"""What a call over WebRTC joins from the other engines: the description of a peer (JSEP, RFC 8829),
DTLS (RFC 6347) with the keys of SRTP (RFC 5764), and the packets of all of them on one port
(RFC 7983).

The order: `description` writes the offer and reads the answer; `peer` then passes each packet to
ICE, `dtls` or the data channel, and returns what to send.
"""
