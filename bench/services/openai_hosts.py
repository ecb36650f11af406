"""OpenAI's Realtime API, and the servers with its GA dialect that people run themselves."""

from bench.catalogue.model_retirements import retirements
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.service import Route, Service

PATH = "/v1/realtime"
OPENAI_PAGE = "developers.openai.com/api/docs/deprecations"
A_TRACKER = "a tracker of OpenAI's deprecations, March 2026; unverified"
RETIREMENTS = retirements(
    ("gpt-4o-realtime-preview", "2026-05-07", A_TRACKER),
    ("gpt-4o-mini-realtime-preview", "2026-05-07", A_TRACKER),
    ("gpt-5", "2026-12-11", OPENAI_PAGE),
    ("gpt-5-mini", "2026-12-11", OPENAI_PAGE),
    ("gpt-5-nano", "2026-12-11", OPENAI_PAGE),
    ("gpt-realtime", "2027-01-20", OPENAI_PAGE),
    ("gpt-realtime-mini", "2027-01-20", OPENAI_PAGE),
    ("whisper-1", "2027-02-26", OPENAI_PAGE),
    ("gpt-4o-transcribe", "2027-02-26", OPENAI_PAGE),
    ("gpt-4o-transcribe-diarize", "2027-02-26", OPENAI_PAGE),
    ("gpt-4o-mini-transcribe", "2027-02-26", OPENAI_PAGE),
)
OPENAI = Service(
    "openai",
    "OpenAI",
    GA,
    f"wss://api.openai.com{PATH}?model={{model}}",
    routes=(
        Route(PATH, GA, needs=("model", "call_id")),
        Route(PATH, PREVIEW, headers=(("OpenAI-Beta", "realtime=v1"),)),
    ),
    hosts=("api.openai.com",),
    api_key_env="OPENAI_API_KEY",
    minutes=60,
    retirements=RETIREMENTS,
    transcription="separate, without a model",
)
LOCALAI = Service("localai", "LocalAI", GA, f"ws://localhost:8080{PATH}?model={{model}}")
HUGGINGFACE = Service(
    "huggingface",
    "Hugging Face speech-to-speech",
    GA,
    f"ws://localhost:8765{PATH}?model={{model}}",
    model="speech-to-speech",
)
LITELLM = Service(
    "litellm",
    "LiteLLM",
    GA,
    f"ws://localhost:4000{PATH}?model={{model}}",
    api_key_env="LITELLM_API_KEY",
)
