"""Many requests to one model: in parallel, with patience, and within limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from orpo.chat.api import Chat, ChatApi, PassingError, RefusedError
from orpo.chat.patience import LONGEST_ASKED, Gate, Patience
from orpo.chat.replies import Reply
from orpo.chat.spending import Account
from orpo.errors import NetworkError, OrpoError

MOST_FAILURES_IN_A_ROW = 5
"""Requests for which all tries failed, with no answer in between, before the server is taken for gone."""


@dataclass(frozen=True)
class Unanswered:
    """Why there is no answer to a request."""

    reason: str
    was_asked: bool
    """False where a limit, or the end of all asking, came first."""


@dataclass(frozen=True)
class Asker:
    """Who is asked, and how insistently."""

    api: ChatApi
    account: Account
    """Of what is asked and paid."""

    parallel: int
    """Requests at the same time."""

    patience: Patience
    """With requests that fail."""

    def ask(
        self,
        requests: Mapping[str, Chat | str],
        *,
        keep: Callable[[str, Reply], None],
        kept_in: object,
        done: Callable[[str], None],
    ) -> dict[str, Unanswered]:
        """Ask all of them.

        However it ends, answers that were paid for are kept, those of requests under way included.

        Args:
            requests: by what tells them apart.
            keep: is given each answer, in the thread that had it; it raises OrpoError if it cannot be kept.
            kept_in: where that is, for messages.
            done: is told of each request that is done, in this thread.

        Returns:
            The requests that have no answer, and why.

        Raises:
            NetworkError: the server is gone, or refuses all requests.
            OrpoError: an answer cannot be kept.
        """
        unanswered: dict[str, Unanswered] = {}
        asking = _Asking(self, keep, kept_in)
        pool = ThreadPoolExecutor(self.parallel)
        try:
            futures = {pool.submit(asking.answer, key, chat): key for key, chat in requests.items()}
            for future in as_completed(futures):
                if (why := future.result()) is not None:
                    unanswered[futures[future]] = why
                done(futures[future])
        finally:
            asking.gate.close()
            pool.shutdown(wait=True, cancel_futures=True)
        return unanswered


class _Asking:
    """What the threads that ask have in common."""

    def __init__(self, asker: Asker, keep: Callable[[str, Reply], None], kept_in: object) -> None:
        self.gate = Gate()
        self._asker = asker
        self._keep = keep
        self._kept_in = kept_in
        self._in_a_row = 0
        self._lock = threading.Lock()

    def answer(self, key: str, chat: Chat | str) -> Unanswered | None:
        """Ask until there is an answer, and keep it; if there is none, why.

        Raises:
            NetworkError: no other request would be answered either.
            OrpoError: the answer cannot be kept.
        """
        try:
            return self._answer(key, chat)
        except OrpoError:
            self.gate.close()  # at once, so that no other thread asks on until this is noticed
            raise

    def _answer(self, key: str, chat: Chat | str) -> Unanswered | None:
        api, account, patience = self._asker.api, self._asker.account, self._asker.patience
        reason, wait = "", 0.0
        for attempt in range(patience.retries + 1):
            if not self.gate.passes(after=wait):
                return Unanswered("ended before", was_asked=False)
            if limit := account.admit():
                return Unanswered(limit, was_asked=False)
            try:
                reply = api.ask(chat)
            except RefusedError as error:
                return Unanswered(str(error), was_asked=True)
            except PassingError as error:
                reason, wait = error.reason, self._hold(error, attempt)
                if wait > LONGEST_ASKED:
                    break
            else:
                self._keep(key, reply)
                self._note(answered=True)
                account.book(reply)
                return None
        if self._note(answered=False) >= MOST_FAILURES_IN_A_ROW:
            raise NetworkError(
                f"{api.url} does not answer: {reason}",
                hint=f"Answers until now are in {self._kept_in}; the same command goes on from there.",
            )
        return Unanswered(reason, was_asked=True)

    def _hold(self, error: PassingError, attempt: int) -> float:
        """Seconds to wait after a failure, and for all others if it concerns them."""
        wait = self._asker.patience.wait(attempt) if error.after is None else error.after
        if error.everybody and wait <= LONGEST_ASKED:
            self.gate.hold(wait)
        return wait

    def _note(self, *, answered: bool) -> int:
        """How many requests in a row were not answered, with this one."""
        with self._lock:
            self._in_a_row = 0 if answered else self._in_a_row + 1
            return self._in_a_row
