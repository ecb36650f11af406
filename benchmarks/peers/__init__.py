"""The same sessions by this load generator and by common alternatives, against one simulator (docs/accuracy.md).

`work` is what each client gets and returns; `rtbench`, `websocket_client`, `openai_sdk` and `picows_uvloop` are the
clients; `play` runs one of them next to a simulator; `truth` reads the ground-truth log; `figures` joins both; `table`
prints them; `benchmark` runs all.
"""
