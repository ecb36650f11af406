"""The same sessions, played by this harness and by what people write instead, against one simulator with known truth.

`work` is what each is given and hands back; `rtbench`, `websocket_client`, `openai_sdk` and `picows_uvloop` are the
peers; `play` runs one of them beside a simulator; `truth` reads what really happened; `figures` joins the two; `table`
shows them; `benchmark` is the whole. How it is measured and how to read it: docs/accuracy.md.
"""
