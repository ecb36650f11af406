"""The same sessions with this load generator and common alternatives, against one simulator
(docs/accuracy.md).

`work` has the input and output of each client. `rtbench`, `websocket_client`, `openai_sdk` and
`picows_uvloop` are the clients. `play` runs one client with a simulator. `truth` reads the
ground-truth log, and `figures` joins it with the client's report. `table` prints the results, and
`benchmark` runs all clients.
"""
