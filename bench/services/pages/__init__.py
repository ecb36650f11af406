"""Protocols that a YAML file describes: what is sent, what received messages mean, and what the
service is like.

`page.py` reads such a file, `template.py` writes its messages, `reader.py` reads those of the
service, and `dialect.py` makes the dialect of both.
"""
