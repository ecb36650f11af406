"""Stands in for the service, in its own process, with known truth: `rtbench simulate`.

    serving       a client's connection: the upgrade, frames in, frames out
    behaviour     (client event, instant) → server events, each with the instant at which it is due: pure
      session          what the client may set
      conversation     what was said: its items, and the caller's audio
      turns            the caller's audio committed, by the client or by speech that was heard in it
      answering        the responses
      outbox, wire     what is going to be sent; the bytes of an event
    gpt_live      the same of GPT-Live, which has no turns
    faults, refusals    what goes wrong, and in which ways services refuse a connection
    profile, delay, voice    what the service is like: its delays, and what it says
    quota         what all sessions share, and may run out of
    served        what it did, and how late it was
    truth         what it really did, and when
    clients       what reaches it from each SDK

What it prints says SIMULATED: its delays are assumptions, never measurements of the service.
"""
