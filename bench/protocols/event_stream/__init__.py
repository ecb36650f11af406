"""Messages of `application/vnd.amazon.eventstream`, in which services of AWS send events, and their
signatures (Signature Version 4).

`messages` parses and writes a message with its checksums; `signing` signs the request and each
message after it, which includes the signature before.
"""
