"""A language model behind an API as a judge: in parallel, with patience, and without paying twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

from orpo.chat.asking import Asker
from orpo.chat.replies import Reply, ReplyStore, key_of
from orpo.judging.prompt import mark_of, read_verdict, render
from orpo.judging.verdicts import Question, Status, Verdict

Progress = Callable[[int, int], None]
"""Is told how many questions are answered, and of how many."""


class LlmJudge:
    """Asks a model which of two responses is better.

    Args:
        asker: asks the model.
        store: of its answers; what is there is not asked again.
        progress: is told of each question that is done.
    """

    both_orders = True

    def __init__(self, asker: Asker, store: ReplyStore, *, progress: Progress) -> None:
        self.name = asker.api.model
        self.used: dict[str, Reply] = {}
        """The answers, paid for now or before, that verdicts were read from."""

        self._asker = asker
        self._store = store
        self._progress = progress

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question.

        However it ends, answers that were paid for are kept, those of requests under way included.

        Raises:
            NetworkError: the server is gone, or refuses all requests.
            ResourceError: an answer cannot be kept.
        """
        prompts = [render(question) for question in questions]
        keys = [
            key_of(self._asker.api.url, self.name, self._asker.api.parameters, prompt) for prompt in prompts
        ]
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
        total, numbers = done + len(prompts), count(done + 1)
        self._progress(done, total)
        unanswered = self._asker.ask(
            prompts,
            keep=lambda key, reply: self._store.add(key, self.name, reply),
            kept_in=self._store.path,
            done=lambda _: self._progress(next(numbers), total),
        )
        return {
            key: Verdict(Status.ERROR if why.was_asked else Status.NOT_ASKED, reason=why.reason)
            for key, why in unanswered.items()
        }
