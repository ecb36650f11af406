"""The signalling of telephone calls: SIP (RFC 3261), with reliable responses (RFC 3262), UPDATE
(RFC 3311), session timers (RFC 4028) and digests (RFC 7616, RFC 8760).

The order of a call: `framing` cuts a stream into messages, and `messages` parses and writes them.
`transactions` repeats what is not answered. `digest` answers a challenge, `hops` finds the next
hop, and says whether a call may go there. `dialog` is one early or confirmed dialog, `leg` a dialog
with its media, and `leg_requests` answers the peer's requests in it. `call` is the whole call, and
`call_record` what is known of it.
"""
