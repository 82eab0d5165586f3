from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from orpo.chat.api import ChatApi, PassingError, RefusedError
from orpo.errors import ConfigError, NetworkError
from tests.judge_server import Answer, JudgeServer, judge_server

KEY = "a key that looks like nothing"


@contextmanager
def api(answer: Answer, timeout: float = 5.0) -> Generator[tuple[ChatApi, JudgeServer]]:
    with judge_server(lambda _: answer) as server:
        chat = ChatApi(server.url, "judge", {"temperature": 0}, key=KEY, timeout=timeout, connections=2)
        try:
            yield chat, server
        finally:
            chat.close()


def test_a_request_has_the_form_of_the_api_and_the_answer_is_read() -> None:
    with api(Answer("yes")) as (chat, server):
        reply = chat.ask("is it?")
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "temperature": 0,
        "model": "judge",
        "messages": [{"role": "user", "content": "is it?"}],
    }
    assert (reply.text, reply.finish, reply.refusal) == ("yes", "stop", None)
    assert (reply.prompt_tokens, reply.completion_tokens) == (100, 10)


def test_the_whole_url_may_be_given() -> None:
    chat = ChatApi("http://h/v1/chat/completions/", "m", {}, key=None, timeout=1, connections=1)
    assert chat.url == "http://h/v1/chat/completions"
    chat.close()


def test_an_answer_without_usage_has_no_tokens() -> None:
    with api(Answer("yes", usage=False)) as (chat, _):
        assert chat.ask("?").prompt_tokens is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(status=500, body=b"oh"), "HTTP 500: oh"),
        (Answer(status=503, body=b""), "HTTP 503"),
        (Answer(status=408, body=b""), "HTTP 408"),
        (Answer(reset=True), "the connection failed"),
        (Answer("cut off", cut=True), "the connection failed"),
        (Answer(body=b"{"), "not a chat completion"),
        (Answer(body=b""), "not a chat completion"),
        (Answer(body=b"<html>hello</html>"), "not a chat completion"),
        (Answer(body=b"[1]"), "not a chat completion"),
        (Answer(body=b'{"choices": []}'), "`choices`"),
        (Answer(body=b'{"choices": [{"message": {"content": 3}}]}'), "`choices.0.message.content`"),
        (Answer(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "not a chat completion"),
        (Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"}), "the connection failed"),
        (Answer(body=b" " * (2**24 + 1)), "more than 16 MiB"),
    ],
)
def test_what_may_pass_can_be_tried_again(answer: Answer, says: str) -> None:
    with api(answer) as (chat, _), pytest.raises(PassingError, match=says):
        chat.ask("?")


@pytest.mark.parametrize("answer", [Answer(wait=0.8), Answer("slow", drip=0.05)], ids=["silent", "dripping"])
def test_an_answer_has_a_limit_of_time_as_a_whole(answer: Answer) -> None:
    start = time.monotonic()
    with api(answer, timeout=0.3) as (chat, _):
        with pytest.raises(PassingError, match=r"answer within 0\.3 s"):
            chat.ask("?")
        assert time.monotonic() - start < 0.7


def test_a_server_that_is_not_there_may_come_back() -> None:
    with judge_server(lambda _: Answer()) as server:
        url = server.url
    chat = ChatApi(url, "judge", {}, key=None, timeout=1, connections=1)
    with pytest.raises(PassingError, match="cannot connect"):
        chat.ask("?")
    chat.close()


@pytest.mark.parametrize(
    ("status", "after", "everybody", "seconds"),
    [(429, None, True, None), (429, "7", True, 7.0), (503, "2", True, 2.0), (500, "soon", False, None)],
)
def test_a_server_may_say_when_to_come_again(
    status: int, after: str | None, everybody: bool, seconds: float | None
) -> None:
    headers = {"Retry-After": after} if after else {}
    with (
        api(Answer(status=status, body=b"", headers=headers)) as (chat, _),
        pytest.raises(PassingError) as found,
    ):
        chat.ask("?")
    assert (found.value.after, found.value.everybody) == (seconds, everybody)


@pytest.mark.parametrize(("ahead", "least", "most"), [(30, 25, 30), (-30, 0, 0)])
def test_it_may_say_so_with_a_date(ahead: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    answer = Answer(status=429, body=b"", headers={"Retry-After": date})
    with api(answer) as (chat, _), pytest.raises(PassingError) as found:
        chat.ask("?")
    assert found.value.after is not None
    assert least <= found.value.after <= most


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_request_may_be_refused(status: int) -> None:
    answer = Answer(status=status, body=b"too long")
    with api(answer) as (chat, _), pytest.raises(RefusedError, match=f"HTTP {status}: too long"):
        chat.ask("?")


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
def test_all_requests_may_be_refused(status: int) -> None:
    with (
        api(Answer(status=status, body=b"no")) as (chat, _),
        pytest.raises(NetworkError, match=f"HTTP {status}"),
    ):
        chat.ask("?")


def test_a_redirect_is_not_followed_since_the_key_would_go_with_it() -> None:
    with judge_server(lambda _: Answer("stolen")) as thief:
        answer = Answer(status=307, body=b"", headers={"Location": f"{thief.url}/chat/completions"})
        with api(answer) as (chat, _), pytest.raises(NetworkError, match="HTTP 307"):
            chat.ask("?")
        assert thief.asked == []


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_server_that_repeats_the_key_does_not_make_us_repeat_it(status: int) -> None:
    text = f"your key is {KEY}!"
    answer = Answer(text) if status == 200 else Answer(status=status, body=text.encode())
    with api(answer) as (chat, _):
        try:
            said = chat.ask("?").text
        except (RefusedError, NetworkError, PassingError) as error:
            said = str(error)
    assert "your key is ***!" in said


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port",
        "http://user:secretpassword@host/v1",
    ],
)
def test_what_is_no_url_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url") as found:
        ChatApi(url, "m", {}, key=None, timeout=1, connections=1)
    assert "secretpassword" not in str(found.value)
