"""A real HTTP server on this machine that answers chat completions as a test says, however badly."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server does with one request."""

    text: str = ""
    """Of the message; used unless `body` is given."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    finish: str = "stop"
    refusal: str | None = None
    usage: bool = True
    wait: float = 0.0
    """Seconds before anything is sent."""

    drip: float = 0.0
    """Seconds between two bytes of the body."""

    cut: bool = False
    """Half of the body, and then the end."""

    reset: bool = False
    """The connection is torn down without an answer."""


@dataclass
class Asked:
    """A request that has arrived."""

    number: int
    """From 0."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


Script = Callable[[Asked], Answer]


class JudgeServer:
    """Counts what it is asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def enter(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Asked:
        with self._lock:
            asked = Asked(len(self.asked), path, headers, body)
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return asked

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = server.enter(self.path, dict(self.headers), body)
                try:
                    self._send(server.script(asked))
                except OSError:  # the client has gone, as some tests want
                    self.close_connection = True
                finally:
                    server.leave()

            def _send(self, answer: Answer) -> None:
                time.sleep(answer.wait)
                if answer.reset:
                    # no orderly goodbye
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                body = completion(answer) if answer.body is None else answer.body
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if answer.cut:
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                elif answer.drip:
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(answer.drip)
                else:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler


def completion(answer: Answer) -> bytes:
    """The body of an orderly answer: 100 tokens read, 10 written."""
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    found: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
    }
    if answer.usage:
        found["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return json.dumps(found).encode()


@contextmanager
def judge_server(script: Script) -> Generator[JudgeServer]:
    """A server that is there within the block."""
    server = JudgeServer(script)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def verdict(asked: Asked, word: str) -> str:
    """The line that says `word` as the prompt wants it."""
    (line,) = re.findall(rf"^VERDICT \w+: {word}$", asked.prompt, re.MULTILINE)
    return f"Both are fine.\n{line}"


def shown(asked: Asked, place: str) -> str:
    """The response that is shown as FIRST or SECOND."""
    (text,) = re.findall(rf"^<<< \w+ {place} RESPONSE\n(.*?)\n>>> ", asked.prompt, re.MULTILINE | re.DOTALL)
    return text


def prefers(text: str) -> Script:
    """A judge that likes the response that contains `text`, and is indifferent otherwise."""

    def script(asked: Asked) -> Answer:
        first, second = (text in shown(asked, place) for place in ("FIRST", "SECOND"))
        word = "TIE" if first == second else "FIRST" if first else "SECOND"
        return Answer(verdict(asked, word))

    return script
