"""The removal of texts that look like credentials from texts of a service. Pure.

The keys and tokens of a run are hidden when a text enters the tool. This module also hides
credentials that the tool does not know, such as a signed URL or another client's token in an error
body, because these texts leave the company.
"""

import re

from reports.results.json_entries import AnyValue, map_values

HIDDEN = "***"
_KEYS = (
    r"(?:[\w-]*(?:api|access|account|shared|subscription|private|secret)[-_]?key|[\w-]*[_-]token)"
)
_PASSWORDS = r"(?:client[-_]secret|password|passwd|(?:set-)?cookie|(?:proxy-)?authorization)"
_IS = r"\\?[\"']?\s*[:=]\s*\\?[\"']?"
_VALUE = r"[^\s\"'\\,;&}]"
_PATTERNS = (
    # the value of the header Authorization
    (
        re.compile(
            r"(?i)\b(bearer|basic|sharedaccesssignature|sharedkey)([\s:]+)[\w.~+/=:%&-]{8,}"
        ),
        rf"\1\2{HIDDEN}",
    ),
    # parameters of a query
    (
        re.compile(
            r"(?i)([?&;](?:sig|signature|code|key|token|auth|pwd|"
            r"[\w-]*(?:_token|-signature|-credential|-token))=)"
            rf"{_VALUE}+"
        ),
        rf"\1{HIDDEN}",
    ),
    # a header or JSON key with its value; the value of a key has a digit, which distinguishes it
    # from a word
    (re.compile(rf"(?i)(\b{_KEYS}{_IS})(?={_VALUE}*\d){_VALUE}{{6,}}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)(\b{_PASSWORDS}{_IS}){_VALUE}+"), rf"\1{HIDDEN}"),
    # JSON Web Tokens
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)*"), HIDDEN),
    # keys with the prefix of a vendor
    (
        re.compile(
            r"\b(?:(?:sk|pk|rk|ek|xai|gsk|ghp|hf)[-_]|AKIA|ASIA|AIza)(?=[\w*-]*[\d*])[\w*-]{12,}"
        ),
        HIDDEN,
    ),
    # the user in a URL
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{HIDDEN}@"),
)


def without_credentials(text: str) -> str:
    """Return the text with `***` in place of each part that looks like a key, a token, a
    signature, or a password.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def hidden(result: AnyValue) -> AnyValue:
    """Return a struct, a dataclass, or a collection with hidden credentials in all of its texts."""
    return map_values(result, str, without_credentials)
