"""A stand-in for the service, in its own process, with known truth: `rtbench simulate`.

    handshake    HTTP request → dialect, or a refusal with the service's body
    behaviour    (client event, instant) → server events, each with the instant at which it is due: pure
      settings, conversation, answer, wire    its session object, its items, one response, the bytes of an event
    connection   socket, TLS, frames and stamps around one behaviour
    server       listens, and says how late it was
    profile, voice, truth    seeded delays; what it says; what it really did, and when

What it prints says SIMULATED: its delays are assumptions, never measurements of the service.
"""
