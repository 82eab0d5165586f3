"""A language model behind an API as a judge: in parallel, with patience, and without paying twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from orpo.errors import NetworkError, OrpoError
from orpo.judging.chat_api import ChatApi, PassingError, RefusedError
from orpo.judging.patience import LONGEST_ASKED, Gate, Patience
from orpo.judging.prompt import mark_of, read_verdict, render
from orpo.judging.replies import Reply, ReplyStore, key_of
from orpo.judging.spending import Account
from orpo.judging.verdicts import Question, Status, Verdict

MOST_FAILURES_IN_A_ROW = 5
"""Questions for which all tries failed, with no answer in between, before the server is taken for gone."""

Progress = Callable[[int, int], None]
"""Is told how many questions are answered, and of how many."""


class LlmJudge:
    """Asks a model which of two responses is better.

    Args:
        api: of the model.
        store: of its answers; what is there is not asked again.
        account: of what is asked and paid.
        parallel: requests at the same time.
        patience: with requests that fail.
        progress: is told of each question that is done.
    """

    both_orders = True

    def __init__(
        self,
        api: ChatApi,
        store: ReplyStore,
        account: Account,
        *,
        parallel: int,
        patience: Patience,
        progress: Progress,
    ) -> None:
        self.name = api.model
        self.used: dict[str, Reply] = {}
        """The answers, paid for now or before, that verdicts were read from."""

        self._api = api
        self._store = store
        self._account = account
        self._parallel = parallel
        self._patience = patience
        self._progress = progress

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question.

        However it ends, answers that were paid for are kept, those of requests under way included.

        Raises:
            NetworkError: the server is gone, or refuses all requests.
            ResourceError: an answer cannot be kept.
        """
        prompts = [render(question) for question in questions]
        keys = [key_of(self._api.url, self.name, self._api.parameters, prompt) for prompt in prompts]
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if self._store.get(key) is None
        }
        failed = self._fetch(missing, done=len(set(keys)) - len(missing))
        return [
            failed[key] if key in failed else self._read(key, question)
            for key, question in zip(keys, questions, strict=True)
        ]

    def _read(self, key: str, question: Question) -> Verdict:
        reply = self._store.get(key)
        assert reply is not None
        self.used[key] = reply
        if reply.refusal or reply.finish == "content_filter":
            return Verdict(Status.INVALID, reason="the judge refuses")
        verdict = read_verdict(reply.text, mark_of(question))
        if verdict.status is Status.INVALID and reply.finish == "length":
            return Verdict(Status.INVALID, reason="the answer is cut off at its limit of tokens")
        return verdict

    def _fetch(self, prompts: Mapping[str, str], done: int) -> dict[str, Verdict]:
        """Ask these prompts, and say which of them have no answer, and why."""
        failed: dict[str, Verdict] = {}
        asking = _Asking(self._api, self._store, self._account, self._patience)
        self._progress(done, done + len(prompts))
        pool = ThreadPoolExecutor(self._parallel)
        try:
            futures = {pool.submit(asking.answer, key, prompt): key for key, prompt in prompts.items()}
            for number, future in enumerate(as_completed(futures), start=done + 1):
                if (verdict := future.result()) is not None:
                    failed[futures[future]] = verdict
                self._progress(number, done + len(prompts))
        finally:
            asking.gate.close()
            pool.shutdown(wait=True, cancel_futures=True)
        return failed


class _Asking:
    """What the threads that ask have in common."""

    def __init__(self, api: ChatApi, store: ReplyStore, account: Account, patience: Patience) -> None:
        self.gate = Gate()
        self._api = api
        self._store = store
        self._account = account
        self._patience = patience
        self._in_a_row = 0
        self._lock = threading.Lock()

    def answer(self, key: str, prompt: str) -> Verdict | None:
        """Ask until there is an answer, and keep it; if there is none, why.

        Raises:
            NetworkError: no other question would be answered either.
            ResourceError: the answer cannot be kept.
        """
        try:
            return self._answer(key, prompt)
        except OrpoError:
            self.gate.close()  # at once, so that no other thread asks on until this is noticed
            raise

    def _answer(self, key: str, prompt: str) -> Verdict | None:
        reason, wait = "", 0.0
        for attempt in range(self._patience.retries + 1):
            if not self.gate.passes(after=wait):
                return Verdict(Status.NOT_ASKED, reason="ended before")
            if limit := self._account.admit():
                return Verdict(Status.NOT_ASKED, reason=limit)
            try:
                reply = self._api.ask(prompt)
            except RefusedError as error:
                return Verdict(Status.ERROR, reason=str(error))
            except PassingError as error:
                reason, wait = error.reason, self._hold(error, attempt)
                if wait > LONGEST_ASKED:
                    break
            else:
                self._store.add(key, self._api.model, reply)
                self._note(answered=True)
                self._account.book(reply)
                return None
        if self._note(answered=False) >= MOST_FAILURES_IN_A_ROW:
            raise NetworkError(
                f"{self._api.url} does not answer: {reason}",
                hint=f"Answers until now are in {self._store.path}; the same command goes on from there.",
            )
        return Verdict(Status.ERROR, reason=reason)

    def _hold(self, error: PassingError, attempt: int) -> float:
        """Seconds to wait after a failure, and for all others if it concerns them."""
        wait = self._patience.wait(attempt) if error.after is None else error.after
        if error.everybody and wait <= LONGEST_ASKED:
            self.gate.hold(wait)
        return wait

    def _note(self, *, answered: bool) -> int:
        """How many questions in a row were not answered, with this one."""
        with self._lock:
            self._in_a_row = 0 if answered else self._in_a_row + 1
            return self._in_a_row
