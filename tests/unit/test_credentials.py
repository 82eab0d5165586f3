"""What counts as a credential, and what must not. Every token here is made up."""

from __future__ import annotations

import pytest

from orpo.config.keys import KEYS
from orpo.config.peers import ADVICE
from orpo.credentials import is_secret_name, is_secret_value, redact

TOKENS = [
    "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3h",
    "hf_abcdefghijklmnopqrstuvwxyzabcdefgh",
    "sk-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5kL7nP9rS1uV3",
    "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT_vW7yZ9bC1eF3hJ5kL7nP9rS1uV3",
    "sk-ant-api03-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9-C1eF3hJ5kL7nP9rS1uV3",
    "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3h56",
    "github_pat_" + "11ABCDEFG0aB3dE5gH7jK9_mN1pQ3sT5vW7",
    "glpat-" + "aB3dE5gH7jK9mN1pQ3sT",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "AIza" + "SyA3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3h5"[:35],
    "xoxb-" + "123456789012-abcdefABCDEF",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTYifQ." + "c2lnbmF0dXJlMTIz",
]

HARMLESS = [
    "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceH4/ultrafeedback_binarized",
    "runs/hf_ultrafeedback_binarized",
    "user/hf_ultrafeedbackbinarized",
    "runs/sk-learn-baseline-2026-01-01",
    "sk-learn_baseline",
    "data/task-aB3dE5gH7jK9mN1pQ3sT",
    "AKIAK",
    "all-linear",
    "hf://datasets/user/name",
    "https://example.org/pairs.jsonl",
    "/home/user/models/Llama-3.1-8B-Instruct-20260101T120000",
    "0123456789abcdef0123456789abcdef01234567",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["{}", "https://host/?t={}", "Bearer {}"])
def test_tokens_are_recognised_and_removed_wherever_they_stand(token: str, around: str) -> None:
    text = around.format(token)
    assert is_secret_value(text, "model")
    assert redact(text) == around.format("***")


@pytest.mark.parametrize("text", HARMLESS)
def test_names_paths_and_revisions_are_not_tokens(text: str) -> None:
    assert not is_secret_value(text, "revision")
    assert redact(text) == text


def test_a_password_in_an_address_is_a_credential() -> None:
    assert redact("https://user:hunter2@host/x") == "https://***@host/x"


def test_what_the_environment_holds_is_a_credential_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = {
        "WANDB_API_KEY": "0123456789abcdef" * 2,
        "HF_TOKEN": "not of the usual shape",
        "DB_PASSWORD": "postgres",
    }
    for name, value in held.items():
        monkeypatch.setenv(name, value)
    assert redact("a 0123456789abcdef0123456789abcdef b not of the usual shape") == "a *** b ***"
    assert is_secret_value("x/0123456789abcdef0123456789abcdef", "revision")
    assert redact("postgres") == "postgres", "a word"


def test_where_the_user_is_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/elsewhere/project")
    assert redact("/elsewhere/project/x") == "/elsewhere/project/x"


def test_hexadecimal_under_a_key_like_name_is_a_credential() -> None:
    wandb = "0123456789abcdef0123456789abcdef01234567"
    assert is_secret_value(wandb, "team_key")
    assert not is_secret_value(wandb, "revision")
    assert not is_secret_value("prompt", "prompt_key")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "token",
            "hf_token",
            "hub-token",
            "HF_TOKEN",
            "use_auth_token",
            "apiKey",
            "api_key",
            "wandb_api_key",
        ),
        *("password", "aws_secret", "secret_access_key", "client_secret", "Authorization", "credentials"),
    ],
)
def test_names_of_credentials_are_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "eos_token", "pad_token", "tokenizer", "keyboard", "chosen_key", ""]
)
def test_names_that_only_sound_like_credentials_are_not(name: str) -> None:
    assert not is_secret_name(name)


def test_no_key_of_ours_or_of_other_tools_is_the_name_of_a_credential() -> None:
    assert [name for name in [*ADVICE, *(key.name for key in KEYS.values())] if is_secret_name(name)] == []
