"""What a credential looks like, so that none is stored, logged or echoed.

A configuration is copied into run directories and model repositories; a token in it is a token published.
Names are judged by their last words, values by the shapes that issuers give their tokens.  A rare false
alarm costs a rename; a miss costs an account, so doubtful values under key-like names are refused too.
"""

from __future__ import annotations

import os
import re

MASK = "***"
"""Shown in place of a credential."""

# A run of random characters: long, or shorter but not of lower-case letters only as words are.
_RANDOM = r"(?:[A-Za-z0-9]{26,}|(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{16,})"

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(
        [
            rf"(?:hf|api_org)_{_RANDOM}",  # Hugging Face
            rf"sk-(?:[A-Za-z0-9]+[-_])*{_RANDOM}[A-Za-z0-9_-]*",  # OpenAI, Anthropic and compatible services
            rf"gh[opsur]_{_RANDOM}",  # GitHub
            r"github_pat_[A-Za-z0-9_]{22,}",
            r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
            r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # Amazon
            r"AIza[A-Za-z0-9_-]{35}",  # Google
            r"xox[abeprs]-[A-Za-z0-9-]{10,}",  # Slack
            r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+",  # JSON web tokens
        ]
    )
    + r")|-----BEGIN [A-Z ]*PRIVATE KEY-----|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)

_SECRET_WORDS = {
    *("apikey", "auth", "authorization", "bearer", "credential", "credentials"),
    *("passphrase", "passwd", "password", "pwd", "secret", "secrets", "token"),
}
_SECRET_KEYS = {"access", "api", "auth", "hf", "openai", "private", "secret", "signing", "ssh", "wandb"}
_VOCABULARY = {"bos", "cls", "eos", "eot", "image", "mask", "pad", "sep", "stop", "unk"}
_KEY_MATERIAL = re.compile(r"(?=.*[0-9])[A-Za-z0-9+/_=-]{32,}")


_SHORTEST = 12
"""Characters of the shortest value of the environment that is a credential, not a word such as `postgres`."""


def redact(text: str) -> str:
    """The text without credentials, each replaced by `MASK`: what looks like one, and those that the
    environment holds, such as the value of HF_TOKEN or WANDB_API_KEY, whatever they look like."""
    for value in _of_environment():
        text = text.replace(value, MASK)
    return _TOKEN.sub(MASK, text)


def _of_environment() -> list[str]:
    """Longest first, since one may begin as another does."""
    held = {value for name, value in os.environ.items() if is_secret_name(name) and name != "PWD"}
    return sorted((value for value in held if len(value) >= _SHORTEST), key=len, reverse=True)


def is_secret_name(name: str) -> bool:
    """Whether a key of this name holds a credential whatever its value: `hub_token`, `apiKey`, `password`."""
    last, before = _last_words(name)
    if last == "token":
        return before not in _VOCABULARY
    return last in _SECRET_WORDS or (last == "key" and before in _SECRET_KEYS)


def is_secret_value(value: str, name: str) -> bool:
    """Whether a value contains a credential, given the name of its key: Weights & Biases' keys, say, are 40
    hexadecimal digits, as a Hub revision is, so that only the name, or the environment, tells them apart."""
    if redact(value) != value:
        return True
    return _last_words(name)[0] == "key" and _KEY_MATERIAL.fullmatch(value.strip()) is not None


def _last_words(name: str) -> tuple[str, str]:
    """The last word of a name and the one before it, in lower case; snake_case, kebab-case or camelCase."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    *_, before, last = ("", "", *words)
    return last, before
