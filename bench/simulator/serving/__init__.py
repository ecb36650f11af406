"""The process that clients connect to.

handshake    HTTP request → dialect, or one of the refusals; access tokens, which token_issuer hands out
stream       socket and TLS: stamped bytes in, bytes out at once
connection   frames and stamps around one session
server       listens and serves, by a timetable of all connections; workers: several of it on one port
tls          a certificate for loopback
"""
