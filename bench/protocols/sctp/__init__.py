"""Events next to the audio of a call: the data channel (RFC 8831, RFC 8832) over SCTP (RFC 9260).

The order: `sctp` opens the association (INIT to COOKIE ACK) and ends it, `sctp_packets` parses and
writes its packets, `sctp_sender` splits, repeats and paces messages, `sctp_receiver` puts fragments
together. `data_channel` opens the channel, and carries whole messages.
"""
