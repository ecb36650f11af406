"""The remedies for outcomes of calls to an agent."""

from bench.catalogue.causes import Code
from bench.catalogue.outcomes import ENDLESS, NO_PATH, OutcomeRow, OwnRemedies

OF_AGENTS = {
    "connect_failed:401": (
        "the agent requires a signature (X-Twilio-Signature) or a token, and none is sent:"
        " configure it to accept calls without one, or set a token in the target's `headers`"
    ),
    "connect_failed:404": NO_PATH,
    "connect_failed:tcp": (
        "no server listens on this port: check that the agent is running, and that it uses this"
        " port"
    ),
    "connect_failed:upgrade": (
        "the server does not accept this WebSocket: check the path, and the target's `subprotocols`"
    ),
    "protocol_error:json": (
        "the agent's messages are those of another provider: set --dialect to the dialect of that "
        "provider: acs, twilio, pcm"
    ),
    "closed:1000": (
        "the agent closed the connection: see its log for the reason; it may require a parameter"
        " (`extra`) or a header"
    ),
    "limit_exceeded:audio": ENDLESS,
}
"""The remedies for outcomes of a call that `rtbench doctor` makes with an agent."""
SAME = {"connect_failed:403": "connect_failed:401"} | dict.fromkeys(
    ("closed:1006", "closed:1008", "closed:1011", "closed:reset"), "closed:1000"
)
"""For some outcomes, another outcome that has the same remedy."""
REMEDIES = OwnRemedies(
    in_doctor=OF_AGENTS | {outcome: OF_AGENTS[same] for outcome, same in SAME.items()}
)
OF_REPLIES = {
    outcome: OutcomeRow(remedy=remedy, causes={Code.REPLY_COMPLETE: remedy})
    for outcomes, part, means in (
        (("timeout:next_delta", "timeout:response"), "ends a reply", "reply_done"),
        (("failed:no_audio",), "has its audio", "audio"),
        (("failed:no_text",), "has its text", "output_transcript"),
    )
    for outcome in outcomes
    for remedy in [f"check `receive` of the protocol file: the message that {part} means {means}"]
}
"""The remedies for outcomes to which a wrong description of replies leads, in a user's file."""
