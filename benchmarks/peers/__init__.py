"""The same sessions with this load generator and common alternatives, against one simulator (docs/accuracy.md).

`work` is the input and output of each client; `rtbench`, `websocket_client`, `openai_sdk` and `picows_uvloop` are the
clients; `play` runs one of them with a simulator; `truth` reads the ground-truth log; `figures` joins both; `table`
prints them; `benchmark` runs all.
"""
