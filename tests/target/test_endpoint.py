"""`resolve_targets` without a file. Each input gives an address, a dialect and a key; each error
has a remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.catalogue.pricing import Billing
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.openai.dialect import GA, Ga
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS
from bench.services.translation.dialect import TRANSLATION
from bench.services.voice_live import VOICE_LIVE
from bench.target.address import endpoint_address
from bench.target.target import Credential, EntraSignIn, Target
from bench.target.target_settings import TargetSettings
from bench.transport.interface import NetworkPath, Proxy
from bench.wire.dialect import Dialect
from tests.helpers import resolve_target
from tests.target.azure import AZURE, KEY

PREVIEW_VERSION = "2024-10-01-preview"
DATED = AZURE | {"OPENAI_API_VERSION": PREVIEW_VERSION}
GA_URL = "wss://res.openai.azure.com/openai/v1/realtime?model=my-deployment"
PREVIEW_URL = (
    f"wss://res.openai.azure.com/openai/realtime?api-version={PREVIEW_VERSION}&"
    f"deployment=my-deployment"
)
LOCAL_URL = "ws://127.0.0.1:9000/openai/v1/realtime?model=m"
ENDPOINT = "AZURE_OPENAI_ENDPOINT"


class Variant(Ga):
    """A dialect that differs from the GA dialect only in its name."""

    name = "variant"


def refusal(environ: Mapping[str, str], **service_options: Any) -> str:
    """Return the error that the user sees. Fail if it is not one line, or if it contains the
    key.
    """
    with pytest.raises(UsageError) as caught:
        resolve_target(environ, **service_options)
    text = str(caught.value)
    assert text.isprintable()
    assert KEY not in text
    return text


# --- from the environment


def test_the_environment_without_a_version_means_ga() -> None:
    target = resolve_target(AZURE)

    assert target.url == target.public_url == GA_URL
    assert (target.host, target.port, target.tls) == ("res.openai.azure.com", 443, True)
    assert target.resource == "/openai/v1/realtime?model=my-deployment"
    assert (target.dialect, target.service, target.loopback) == (GA, "azure", False)
    assert isinstance(target.auth, Credential)
    assert target.auth.header() == ("api-key", KEY)
    assert [name for name, _ in target.headers] == ["User-Agent"]
    assert dict(target.headers)["User-Agent"].startswith("rtbench/")
    assert (target.label, target.network_path, target.notices) == (
        "res.openai.azure.com",
        NetworkPath(),
        (),
    )
    assert target.connects_per_min is None


def test_the_environment_with_a_version_means_preview() -> None:
    target = resolve_target(DATED)

    assert (target.url, target.dialect, target.notices) == (PREVIEW_URL, PREVIEW, ())
    assert target.connects_per_min == 30.0
    assert [name for name, _ in target.headers] == ["User-Agent"]


@pytest.mark.parametrize(
    ("environ", "dialect", "url", "notice"),
    [
        (AZURE, "ga", GA_URL, None),
        (DATED, "preview", PREVIEW_URL, None),
        (AZURE, "preview", PREVIEW_URL, f"OPENAI_API_VERSION is not set: using {PREVIEW_VERSION}"),
        (DATED, "ga", GA_URL, "OPENAI_API_VERSION is ignored"),
        (
            DATED | {ENDPOINT: "https://res.openai.azure.com/openai/v1"},
            "ga",
            GA_URL,
            "OPENAI_API_VERSION is ignored",
        ),
        (
            DATED | {ENDPOINT: "https://res.openai.azure.com/openai/v1"},
            "preview",
            PREVIEW_URL,
            "/openai/v1 in AZURE",
        ),
        (
            DATED | {"OPENAI_API_VERSION": "2024-12-17"},
            "ga",
            GA_URL,
            "OPENAI_API_VERSION is ignored",
        ),
    ],
)
def test_the_dialect_option_overrides_the_environment(
    environ: Mapping[str, str], dialect: str, url: str, notice: str | None
) -> None:
    target = resolve_target(environ, dialect=dialect)

    assert (target.url, target.dialect.name) == (url, dialect)
    assert [text.startswith(notice or "") for text in target.notices] == ([True] if notice else [])


AGENT_URL = "wss://r.services.ai.azure.com/api/projects/p.1/agents/a/endpoint/protocols/voice"
LIVE = {**AZURE, ENDPOINT: "https://res.services.ai.azure.com"}
LIVE_URL = (
    "wss://res.services.ai.azure.com/voice-live/realtime?api-version=2026-04-10&model=my-deployment"
)


def test_voice_live_is_reached_at_a_resource_and_identified_by_its_path() -> None:
    by_endpoint = resolve_target(LIVE | {"OPENAI_API_VERSION": "2026-04-10"}, dialect="voice-live")
    by_url = resolve_target({}, url=LIVE_URL)

    assert by_endpoint.url == by_url.url == LIVE_URL
    assert by_endpoint.dialect is by_url.dialect is VOICE_LIVE
    assert by_endpoint.service == by_url.service == "azure"
    assert (by_endpoint.notices, by_endpoint.connects_per_min) == ((), None)
    assert by_endpoint.terms.billing is Billing.TIERS


def test_the_name_of_a_deployment_is_escaped_in_the_query() -> None:
    target = resolve_target(AZURE | {"AZURE_OPENAI_DEPLOYMENT_NAME": "a&b=c#d"})

    assert target.resource == "/openai/v1/realtime?model=a%26b%3Dc%23d"


def test_another_variable_may_hold_the_key() -> None:
    environ = {name: value for name, value in AZURE.items() if name != "AZURE_OPENAI_API_KEY"} | {
        "MINE": " other\n"
    }
    credential = resolve_target(environ, api_key_env="MINE").auth

    assert isinstance(credential, Credential)
    assert credential.header() == ("api-key", "other")


# --- from a URL


@pytest.mark.parametrize(
    ("url", "dialect", "service"),
    [
        (PREVIEW_URL, PREVIEW, "azure"),
        (GA_URL, GA, "azure"),
        ("wss://gateway.example/openai/v1/realtime/?model=m", GA, "azure"),
        ("wss://api.openai.com/v1/realtime?model=m", GA, "openai"),
        ("wss://api.openai.com/v1/live/sessions", GPT_LIVE, "openai"),
        ("wss://api.openai.com/v1/realtime/translations?model=m", TRANSLATION, "openai"),
        ("wss://r.openai.azure.com/openai/v1/realtime/translations?model=m", TRANSLATION, "azure"),
        ("ws://localhost:4000/v1/realtime/translations?model=m", TRANSLATION, "other"),
        ("wss://notapi.openai.com/v1/realtime?model=m", GA, "other"),
        ("wss://voice.example:8443/talk", GA, "other"),
        (LOCAL_URL, GA, "azure"),
        ("ws://127.9.9.9:81/x", GA, "other"),
        ("ws://[::1]:8080/x?a=b&a=c&flag", GA, "other"),
        ("wss://res.services.ai.azure.com/x", GA, "azure"),
        (AGENT_URL, DIALECTS["foundry"], "azure"),
        (f"{AGENT_URL}/live/sessions?api-version=v1", DIALECTS["foundry-live"], "azure"),
        ("wss://r.openai.azure.us/x", GA, "azure"),
    ],
)
def test_a_url_is_used_unchanged_and_its_path_determines_the_dialect(
    url: str, dialect: Dialect, service: str
) -> None:
    target = resolve_target({}, url=url)

    assert (target.url, target.dialect, target.service) == (url, dialect, service)
    assert target.auth is None


@pytest.mark.parametrize(
    ("url", "environ", "dialect"),
    [
        ("wss://api.openai.com/v1/realtime?intent=transcription", {}, GA),
        ("wss://api.openai.com/v1/realtime?Intent=%74ranscription", {}, GA),
        ("wss://res.openai.azure.com/openai/v1/realtime?intent=transcription", {}, GA),
        (
            "wss://res.openai.azure.com/openai/v1/realtime?intent=${WANTED}&model=d",
            {"WANTED": "transcription"},
            GA,
        ),
        (
            f"wss://x.example/openai/realtime?api-version={PREVIEW_VERSION}&intent=transcription",
            {},
            PREVIEW,
        ),
        ("ws://localhost:8000/v1/realtime?intent=transcription&model=whisper", {}, GA),
    ],
)
def test_the_intent_of_an_address_makes_its_sessions_only_transcribe(
    url: str, environ: Mapping[str, str], dialect: Dialect
) -> None:
    target = resolve_target(environ, url=url)

    assert (target.output, target.dialect) == ("transcript", dialect)
    assert target.script_settings == {"output": "transcript"}


@pytest.mark.parametrize("host", ["r.services.ai.azure.com", "gateway.example/prefix"])
def test_a_voice_agent_of_foundry_needs_its_scope_and_its_header(host: str) -> None:
    url = AGENT_URL.replace("r.services.ai.azure.com", host)
    target = resolve_target({}, url=url, auth="azure_cli")

    assert isinstance(target.auth, EntraSignIn)
    assert target.auth.scope == "https://ai.azure.com/.default"
    assert ("Foundry-Features", "VoiceAgents=V1Preview") in target.headers


def test_another_dialect_of_the_family_uses_the_path_of_ga(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Variant()
    monkeypatch.setitem(DIALECTS, "variant", other)
    names = dict.fromkeys(("endpoint", "url", "dialect", "api_version"), "it")
    address = endpoint_address(
        "https://res.openai.azure.com", "mine", TargetSettings(dialect="variant"), names
    )

    assert (address.dialect, address.resource) == (other, "/openai/v1/realtime?model=mine")


@pytest.mark.parametrize(
    ("url", "header"),
    [
        (GA_URL, ("api-key", "mine")),
        (LOCAL_URL, ("api-key", "mine")),
        ("wss://api.openai.com/v1/realtime?model=m", ("Authorization", "Bearer mine")),
        ("wss://voice.example/talk", ("Authorization", "Bearer mine")),
        (
            "wss://res.services.ai.azure.com/voice-live/realtime?api-version=2026-07-15&model=m",
            ("api-key", "mine"),
        ),
        (
            "wss://voice.example/voice-live/realtime?api-version=2026-07-15&model=m",
            ("api-key", "mine"),
        ),
    ],
)
def test_the_key_is_sent_in_the_header_of_the_service(url: str, header: tuple[str, str]) -> None:
    credential = resolve_target(AZURE | {"MINE": "mine"}, url=url, api_key_env="MINE").auth

    assert isinstance(credential, Credential)
    assert credential.header() == header


def test_with_a_url_only_the_key_and_proxy_variables_are_read() -> None:
    class OnlyMine(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            assert name == "MINE"
            return super().__getitem__(name)

        def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
            assert name == "MINE" or name.lower().endswith("_proxy")
            return super().get(name, default)

    environ = OnlyMine(DATED | {"MINE": "mine"})
    assert resolve_target(environ, url=GA_URL, api_key_env="MINE").dialect is GA
    assert resolve_target(environ, url=GA_URL).auth is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("wss://voice.example/talk", "does not determine the dialect, so ga is used"),
        (f"{GA_URL}&api-version={PREVIEW_VERSION}", "Azure refuses an api-version"),
        (
            "wss://res.openai.azure.com/openai/realtime?deployment=d",
            "Azure requires an api-version",
        ),
        (
            "wss://x.example/openai/realtime?deployment=d&api-version=2023-01-01",
            "known versions of /openai/realtime are",
        ),
        (
            LIVE_URL.replace("2026-04-10", "2024-10-01-preview"),
            "known versions of /voice-live/realtime are 2026-07-15 and",
        ),
        (LIVE_URL.replace("api-version=2026-04-10&", ""), "add &api-version=2026-07-15"),
        (
            LIVE_URL.replace("services.ai", "openai"),
            "the host of Voice Live is res.services.ai.azure.com",
        ),
        (GA_URL, "no key is sent"),
        ("wss://api.openai.com/v1/realtime?model=m", "no key is sent"),
    ],
)
def test_a_likely_mistake_in_a_url_gives_a_notice_and_the_url_is_used(url: str, words: str) -> None:
    target = resolve_target({}, url=url)

    assert target.url == url
    assert any(words in notice for notice in target.notices)


def test_unknown_query_values_are_hidden_in_the_public_url() -> None:
    target = resolve_target({}, url=f"{GA_URL}&user={KEY}&{KEY}&api-version=v")

    assert target.url.endswith(f"&user={KEY}&{KEY}&api-version=v")
    assert target.public_url == f"{GA_URL}&user=***&***&api-version=v"
    assert KEY not in repr(target)


def test_the_repr_of_a_target_contains_no_key() -> None:
    target = resolve_target(AZURE)

    assert KEY not in repr(target)
    assert KEY not in str(target.headers)


# --- signing in without a key

KEYLESS = {name: value for name, value in AZURE.items() if name != "AZURE_OPENAI_API_KEY"}
PUBLIC = "https://cognitiveservices.azure.com/.default"


def entra(environ: Mapping[str, str], **service_options: Any) -> EntraSignIn:
    auth = resolve_target(environ, **service_options).auth
    assert isinstance(auth, EntraSignIn)
    return auth


@pytest.mark.parametrize("environ", [KEYLESS, AZURE | {"AZURE_OPENAI_API_KEY": ' "" '}])
def test_an_environment_without_a_key_signs_in_through_entra_with_a_notice(
    environ: Mapping[str, str],
) -> None:
    target = resolve_target(environ)

    assert target.auth == EntraSignIn(PUBLIC)
    assert target.notices == (
        "no key is set: signs in through Microsoft Entra ID (DefaultAzureCredential)",
    )


SIGNS_IN = "no key is set: signs in through Microsoft Entra ID (DefaultAzureCredential)"


@pytest.mark.parametrize(
    ("environ", "options", "notices"),
    [
        (KEYLESS | {"AZURE_OPENAI_KEY": KEY}, {}, ["AZURE_OPENAI_KEY", SIGNS_IN]),
        (KEYLESS | {"AZURE_OPENAI_API_KEY_1": KEY}, {}, ["AZURE_OPENAI_API_KEY_1", SIGNS_IN]),
        (KEYLESS | {"AZURE_OPEN_AI_KEY": KEY}, {}, ["AZURE_OPEN_AI_KEY", SIGNS_IN]),
        (KEYLESS | {"AZURE_VOICELIVE_API_KEY": KEY}, {}, ["AZURE_VOICELIVE_API_KEY", SIGNS_IN]),
        (KEYLESS | {"OPENAI_API_KEY": KEY}, {}, ["OPENAI_API_KEY", SIGNS_IN]),
        (
            KEYLESS | {"OPENAI_API_KEY": KEY, "AZURE_API_KEY": KEY},
            {},
            ["AZURE_API_KEY", SIGNS_IN],
        ),
        (KEYLESS | {"AZURE_AI_SEARCH_KEY": KEY, "AZURE_STORAGE_KEY": KEY}, {}, [SIGNS_IN]),
        (KEYLESS | {"AZURE_OPENAI_KEY_VAULT_URL": "https://v"}, {}, [SIGNS_IN]),
        (KEYLESS | {"AZURE_OPENAI_KEY": " "}, {}, [SIGNS_IN]),
        (KEYLESS | {"AZURE_API_KEY": KEY}, {"auth": "azure_cli"}, []),
        (AZURE | {"AZURE_OPENAI_KEY": KEY}, {}, []),
        (AZURE | {"AZURE_OPENAI_API_VERSION": "x"}, {}, ["AZURE_OPENAI_API_VERSION"]),
        (AZURE | {"AZURE_OPENAI_API_VERSION": "x"}, {"dialect": "ga"}, []),
        (DATED | {"AZURE_OPENAI_API_VERSION": "x"}, {}, []),
        (AZURE | {"OPENAI_BASE_URL": "https://gw/v1"}, {}, []),
    ],
)
def test_a_variable_of_other_clients_that_is_not_used_has_a_notice(
    environ: Mapping[str, str], options: dict[str, Any], notices: list[str]
) -> None:
    found = resolve_target(environ, **options).notices

    assert [notice.partition(" is set, but not used")[0] for notice in found] == notices
    assert KEY not in "".join(found)


@pytest.mark.parametrize(
    ("url", "environ", "example"),
    [
        ("wss://res.openai.azure.com/openai/v1/realtime?model=m", {}, ""),
        (
            "wss://res.openai.azure.com/openai/v1/realtime?model=m",
            {"AZURE_OPENAI_KEY": KEY},
            ", e.g. AZURE_OPENAI_KEY, which is set",
        ),
        (
            "wss://res.openai.azure.com/openai/v1/realtime?model=m",
            {"AZURE_OPENAI_KEY": KEY, "AZURE_OPENAI_API_KEY": KEY},
            ", e.g. AZURE_OPENAI_API_KEY, which is set",
        ),
        (
            "wss://api.openai.com/v1/realtime?model=m",
            {"OPENAI_KEY": KEY},
            ", e.g. OPENAI_KEY, which is set",
        ),
        (
            "wss://agent.deepgram.com/v1/agent/converse",
            {"DEEPGRAM_TOKEN": KEY},
            ", e.g. DEEPGRAM_TOKEN, which is set",
        ),
    ],
)
def test_a_url_of_a_service_without_a_key_names_the_variable_that_probably_has_it(
    url: str, environ: dict[str, str], example: str
) -> None:
    """The key of a variable is sent to a URL only if the user names the variable."""
    target = resolve_target(environ, url=url)

    assert target.auth is None
    assert target.notices[-1] == (
        "no key is sent: set --api-key-env to the name of the variable that contains the key"
        + example
    )


def test_the_auth_option_entra_overrides_the_key_of_the_environment_with_a_notice() -> None:
    target = resolve_target(AZURE, auth="azure_cli")

    assert target.auth == EntraSignIn(PUBLIC, kind="azure_cli")
    assert target.notices == ("AZURE_OPENAI_API_KEY is ignored: --auth azure_cli is set",)


def test_the_auth_option_key_uses_the_key_of_the_environment_or_is_refused() -> None:
    credential = resolve_target(AZURE, auth="key").auth

    assert isinstance(credential, Credential)
    assert credential.header() == ("api-key", KEY)
    assert "AZURE_OPENAI_API_KEY is not set: it is the key of the resource" in refusal(
        KEYLESS, auth="key"
    )


# --- the route


def test_the_environment_s_proxy_is_used_and_printed_without_its_password() -> None:
    target = resolve_target(AZURE | {"HTTPS_PROXY": f"http://me:{KEY}@proxy.example:3128"})

    assert target.network_path.proxy == Proxy("http", "proxy.example", 3128, "me", KEY)
    assert target.notices == ("through the proxy http://proxy.example:3128 (HTTPS_PROXY)",)
    assert KEY not in repr(target)


# --- certificates


@pytest.fixture
def certificate() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, datetime(2024, 1, 1), datetime(2044, 1, 1)
    )
    return builder.sign(key, hashes.SHA256())


def test_a_ca_file_in_pem_is_stored_in_the_target(
    tmp_path: Path, certificate: x509.Certificate
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    assert resolve_target(AZURE, ca_file=path).network_path.ca == path
    assert "cannot be read: No such file" in refusal(AZURE, ca_file=tmp_path / "none.pem")
    assert resolve_target(AZURE, ca_file=path).notices == ()
    assert "--ca-file is not used" in resolve_target({}, url=LOCAL_URL, ca_file=path).notices[-1]


def test_a_ca_file_that_is_not_pem_is_refused(
    tmp_path: Path, certificate: x509.Certificate
) -> None:
    path = tmp_path / "ca.der"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    assert "contains no PEM certificate" in refusal(AZURE, ca_file=path)

    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "contains no PEM certificate" in refusal(AZURE, ca_file=path)

    path.write_bytes(b"")
    assert "contains no PEM certificate" in refusal(AZURE, ca_file=path)


def test_a_client_certificate_and_its_key_are_stored_in_the_target(
    tmp_path: Path, certificate: x509.Certificate
) -> None:
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_text("-----BEGIN PRIVATE KEY-----\n")

    path = resolve_target(AZURE, client_cert=cert, client_key=key).network_path
    assert (path.client_cert, path.client_key) == (cert, key)
    assert "--client-key needs --client-cert" in refusal(AZURE, client_key=key)
    assert "contains no PEM certificate" in refusal(AZURE, client_cert=key)
    assert "--client-key" in refusal(AZURE, client_cert=cert, client_key=cert)
    assert (
        "--client-cert is not used"
        in resolve_target({}, url=LOCAL_URL, client_cert=cert).notices[-1]
    )


# --- any input

VALUES = st.text(max_size=30) | st.sampled_from([*AZURE.values(), PREVIEW_VERSION, "2024-12-17"])
NAMES = st.sampled_from([*DATED, "MINE", "HTTPS_PROXY", "NO_PROXY"])
URLS = st.builds(
    "".join,
    st.lists(
        st.text(max_size=4)
        | st.sampled_from(
            [
                "wss://",
                "ws://",
                "https://",
                "localhost",
                "[::1]",
                "a.example",
                ":80",
                "/openai/realtime",
            ]
        )
        | st.sampled_from(
            [
                "/v1/realtime",
                "?",
                "&",
                "=",
                "#",
                "@",
                "%",
                "model=m",
                "deployment=d",
                "api-version=v",
            ]
        ),
        max_size=8,
    ),
)


def outcome(environ: Mapping[str, str], **options: str | None) -> Target | UsageError:
    """Return the target, or the UsageError that is raised instead. Raise any other error."""
    try:
        return resolve_target(environ, **options)
    except UsageError as error:
        return error


@given(
    environ=st.dictionaries(NAMES, VALUES | URLS),
    url=st.none() | URLS,
    dialect=st.none() | st.sampled_from(["ga", "preview", "x"]),
    api_key_env=st.none() | NAMES,
    auth=st.none() | st.sampled_from(["key", "entra", "azure_cli", "x"]),
)
@example(environ=DATED, url=None, dialect=None, api_key_env=None, auth=None)
@example(environ={}, url=LOCAL_URL, dialect="preview", api_key_env=None, auth="entra")
def test_any_configuration_gives_a_valid_target_or_a_one_line_error(
    environ: dict[str, str],
    url: str | None,
    dialect: str | None,
    api_key_env: str | None,
    auth: str | None,
) -> None:
    result = outcome(environ, url=url, dialect=dialect, api_key_env=api_key_env, auth=auth)

    if isinstance(result, Target):
        assert result.host
        assert 0 < result.port < 65_536
        assert result.resource.startswith("/")
        assert result.tls or result.loopback
        assert result.url.isascii()
        assert result.url.isprintable()
        assert " " not in result.url
    else:
        assert str(result).isprintable()


# --- gateways with a prefix

GATEWAY = "https://contoso.azure-api.net"


def test_a_gateway_without_a_key_gets_a_token() -> None:
    environ = {name: value for name, value in AZURE.items() if "KEY" not in name}
    target = resolve_target(environ | {ENDPOINT: f"{GATEWAY}/my-api"})
    assert isinstance(target.auth, EntraSignIn)
    assert target.auth.scope == "https://cognitiveservices.azure.com/.default"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Ocp-Apim-Subscription-Key", ("Ocp-Apim-Subscription-Key", KEY)),
        ("x-goog-api-key", ("x-goog-api-key", KEY)),
        ("api-key", ("api-key", KEY)),
        ("Authorization", ("Authorization", f"Bearer {KEY}")),
    ],
)
@pytest.mark.parametrize(
    "url", [GA_URL, "wss://voice.example/v1/realtime?model=m", LOCAL_URL, None]
)
def test_the_key_is_sent_in_the_header_of_the_given_name(
    url: str | None, name: str, header: tuple[str, str]
) -> None:
    options = {} if url is None else {"url": url, "api_key_env": "MINE"}
    target = resolve_target(AZURE | {"MINE": KEY}, api_key_header=name, **options)

    assert isinstance(target.auth, Credential)
    assert target.auth.header() == header
    assert KEY not in repr(target)
