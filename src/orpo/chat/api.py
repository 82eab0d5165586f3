"""One request to an API of chat completions as OpenAI defined it and most servers offer it.

Nothing is retried here and no redirect is followed, since it would take the key to another host.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from orpo.chat.replies import Reply
from orpo.credentials import MASK, is_secret_value, redact
from orpo.errors import ConfigError, NetworkError
from orpo.text import printable

_MOST_BYTES = 2**24
"""Of an answer; more is a fault of the server."""

_EXCERPT = 200
_PATH = "/chat/completions"
_TIMED_OUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429


class PassingError(Exception):
    """A request failed in a way that another try may not.

    Args:
        reason: for people.
        after: seconds to wait first, if the server said so.
        everybody: whether it is the rate of all requests that is too high.
    """

    def __init__(self, reason: str, *, after: float | None = None, everybody: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.everybody = everybody


class RefusedError(Exception):
    """The server does not accept this one request, however often it is sent: its text may be too long."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: NonNegativeInt | None = None
    completion_tokens: NonNegativeInt | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class Chat:
    """What is asked in one request."""

    messages: Sequence[tuple[str, str]]
    """Role and content of each turn."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of this request, beside those of all."""

    @classmethod
    def of(cls, prompt: str) -> Chat:
        """One message of a user."""
        return cls((("user", prompt),))


class ChatApi:
    """A model behind a URL.

    Args:
        url: such as `https://api.openai.com/v1`.
        model: its name there.
        parameters: of each request, beside model and messages.
        key: sent as a bearer token; never in a message, a log or a result of this class.
        timeout: seconds for one request, from sending it to the last byte of the answer.
        connections: requests at the same time.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        parameters: Mapping[str, Any],
        *,
        key: str | None,
        timeout: float,
        connections: int,
    ) -> None:
        self.url = _endpoint(url)
        self.model = model
        self.parameters = dict(parameters)
        self._key = key
        self._timeout = timeout
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections),
            follow_redirects=False,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ask(self, chat: Chat | str) -> Reply:
        """The answer to one conversation, or to one message of a user.

        Raises:
            PassingError: another try may help.
            RefusedError: it would not, for this prompt.
            NetworkError: it would not, for any prompt.
        """
        given = Chat.of(chat) if isinstance(chat, str) else chat
        body = {
            **self.parameters,
            **given.parameters,
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in given.messages],
        }
        deadline = time.monotonic() + self._timeout
        try:
            with self._client.stream("POST", self.url, json=body) as response:
                content = self._content(response, deadline)
                headers, status = response.headers, response.status_code
        except (httpx2.ConnectError, httpx2.UnsupportedProtocol) as error:
            raise PassingError(f"cannot connect: {self._clean(str(error))}") from None
        except httpx2.TimeoutException:
            raise PassingError(f"no answer within {self._timeout:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise PassingError(f"the connection failed: {self._clean(str(error))}") from None
        if status != httpx2.codes.OK:
            self._raise(status, headers, content)
        return self._reply(content)

    def _content(self, response: httpx2.Response, deadline: float) -> bytes:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise PassingError(f"an answer of more than {_MOST_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise PassingError(f"no whole answer within {self._timeout:g} s")
        return bytes(content)

    def _reply(self, content: bytes) -> Reply:
        try:
            completion = _Completion.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise PassingError(
                f"not a chat completion ({f'`{place}`: ' if place else ''}{self._clean(problem['msg'])})"
            ) from None
        choice, usage = completion.choices[0], completion.usage or _Usage()
        return Reply(
            text=self._clean(choice.message.content or ""),
            refusal=None if choice.message.refusal is None else self._clean(choice.message.refusal),
            finish=choice.finish_reason,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def _raise(self, status: int, headers: httpx2.Headers, content: bytes) -> None:
        excerpt = printable(self._clean(content.decode(errors="replace")), _EXCERPT)
        reason = f"HTTP {status}{f': {excerpt}' if excerpt else ''}"
        if status in (_TIMED_OUT, _TOO_EARLY, _TOO_MANY) or status >= 500:
            after = _seconds(headers.get("retry-after"))
            raise PassingError(reason, after=after, everybody=status == _TOO_MANY or after is not None)
        if status in (401, 402, 403):
            raise NetworkError(
                f"{self.url} refuses: {reason}", hint="Check the key, and what it may be used for."
            )
        if status in (404, 405) or status < 400:
            raise NetworkError(
                f"{self.url} has no such model or no chat completions: {reason}",
                hint="Check --url, which often ends in /v1, and --model.",
            )
        raise RefusedError(reason)

    def _clean(self, text: str) -> str:
        """Without the key, wherever a server may have repeated it."""
        return redact(text.replace(self._key, MASK) if self._key else text)


def _endpoint(url: str) -> str:
    if is_secret_value(url, "url"):
        raise ConfigError(
            "--url contains a credential", hint="Put the key into the environment: see --api-key-env."
        )
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"--url {printable(url)!r} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(
            f"--url {printable(url)!r}: expected http:// or https:// and a host",
            hint="Such as http://localhost:8000/v1.",
        )
    whole = url.rstrip("/")
    return whole if whole.endswith(_PATH) else whole + _PATH


def _seconds(retry_after: str | None) -> float | None:
    """What `Retry-After` says, a number of seconds or a date, as seconds from now; None without sense."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
