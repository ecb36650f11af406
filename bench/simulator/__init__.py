"""A stand-in for the service, in its own process, with known truth: `rtbench simulate`.

    handshake    HTTP request → dialect, or a refusal with the service's body
    behaviour    (client event, instant) → server events, each with the instant at which it is due: pure
      session, settings, checks    its effective session, what may be written into it
      turns, input_audio, vad      the caller's audio: committed by the client, or by speech that was heard in it
      transcription                what the caller said, made up
      responses, answer, schedule  the session's responses; one of them; when its events are due
      conversation, outbox, wire   its items; what is going to be sent; the bytes of an event
    connection   socket, TLS, frames and stamps around one behaviour
    server       listens, and says how late it was
    profile, voice, truth    seeded delays; what it says; what it really did, and when

What it prints says SIMULATED: its delays are assumptions, never measurements of the service.
"""
