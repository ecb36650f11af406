"""Stands in for the service, in its own process, with known truth: `rtbench simulate`.

    handshake    HTTP request → dialect, or one of the refusals with the service's body
    refusals, quota    in which ways services refuse; what is left of this minute
    servers      who waits for whom, where only so many responses are made at a time
    tokens, identity   access tokens of a limited life, and the endpoint that issues them
    behaviour    (client event, instant) → server events, each with the instant at which it is due: pure
      session, session_forms       its effective session, of one of several forms; Voice Live's is voice_live
      settings, tool_checks, client_item, checks    what may be written into it, and into the conversation
      mcp, mcp_call                the servers of MCP that a client declares
      turns, input_audio, vad      the caller's audio: committed by the client, or by speech that was heard in it
      transcription                what the caller said, made up
      responses, answer, schedule  the session's responses; one of them; when its events are due
      conversation, outbox, wire   its items; what is going to be sent; the bytes of an event
    connection   socket, TLS, frames and stamps around one behaviour
    timetable    whose events are due next, of all connections
    server       listens and serves; workers: several of it on one port
    lateness     what it did, and how late it was; live: how it stands, on a terminal
    clients      what reaches it from each SDK
    profile, drift, voice    seeded delays, and what makes all of them longer for a while; what it says
    truth        what it really did, and when

What it prints says SIMULATED: its delays are assumptions, never measurements of the service.
"""
