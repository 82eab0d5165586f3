"""Responses of a model behind an API, kept as they come."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from orpo.chat.api import Chat
from orpo.chat.asking import Asker
from orpo.chat.replies import Reply
from orpo.data.pairs import Message
from orpo.errors import Interrupted, NetworkError
from orpo.run.evaluation.prompts import PromptSource, account, fingerprint
from orpo.rundir.evaluations import DataUsed, EvaluationDirectory, ResponseRow
from orpo.rundir.records import Scalar
from orpo.text import printable
from orpo.training.progress import advancing


@dataclass(frozen=True)
class ServedPrompt:
    """A prompt as a server is given it."""

    index: int
    """Among all prompts of the source."""

    instruction: str
    messages: tuple[tuple[str, str], ...]
    """Role and content of each turn."""

    dataset: str | None

    @property
    def text(self) -> str:
        """The messages as JSON."""
        turns = [{"role": role, "content": content} for role, content in self.messages]
        return json.dumps(turns, ensure_ascii=False)


def served_prompts(source: PromptSource, max_prompts: int | None) -> tuple[list[ServedPrompt], DataUsed]:
    """The prompts of a source as conversations, with the account of the rest; a text is what a user says."""
    prompts = [
        ServedPrompt(
            index,
            row.instruction,
            tuple(
                (turn.role, turn.content)
                for turn in ((Message("user", row.prompt),) if isinstance(row.prompt, str) else row.prompt)
            ),
            row.dataset,
        )
        for index, row in enumerate(source.rows[:max_prompts])
    ]
    return prompts, account(source, len(prompts), Counter())


def served_settings(asker: Asker, prompts: Sequence[ServedPrompt], *, samples: int) -> dict[str, Scalar]:
    """What the responses depend on, beside the server."""
    return {
        "samples": samples,
        "parameters": json.dumps(asker.api.parameters, sort_keys=True),
        "prompts_sha256": fingerprint([[prompt.index, prompt.text] for prompt in prompts]),
    }


def sampling_parameters(max_new_tokens: int, temperature: float, top_p: float, seed: int) -> dict[str, float]:
    """The parameters of requests, unless the user says otherwise; each sample gets a seed made of `seed`."""
    sampling = {"top_p": top_p, "seed": seed} if temperature > 0 else {}
    return {"max_tokens": max_new_tokens, "temperature": temperature, **sampling}


def fetch_responses(
    asker: Asker,
    prompts: Sequence[ServedPrompt],
    directory: EvaluationDirectory,
    *,
    samples: int,
    console: Console | None,
) -> Counter[str]:
    """Ask for the responses that are not there yet, each kept as it comes.

    Args:
        asker: asks the server.
        prompts: what is responded to.
        directory: where responses are kept, and those that are there already.
        samples: of each prompt.
        console: where to show progress; None shows none.

    Returns:
        Why there is no response, and how often.

    Raises:
        DataError: a response that is there is damaged.
        Interrupted: a limit is reached; what was paid for is kept.
        NetworkError: the server is gone, or refuses all requests.
        ResourceError: the directory cannot be written.
    """
    done = {(row.prompt_index, row.sample) for row in directory.go_on()}
    places = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    missing = {
        f"{prompt.index}/{sample}": (prompt, sample)
        for prompt, sample in places
        if (prompt.index, sample) not in done
    }
    writing = threading.Lock()

    def keep(key: str, reply: Reply) -> None:
        with writing:
            directory.append_responses([_row(*missing[key], reply)])

    seed = asker.api.parameters.get("seed")
    requests = {
        key: Chat(prompt.messages, _seed(seed, prompt, sample)) for key, (prompt, sample) in missing.items()
    }
    with advancing(console, "asking", len(places), len(places) - len(missing)) as advance:
        unanswered = asker.ask(requests, keep=keep, kept_in=directory.responses, done=lambda _: advance(1))
    limits = {why.reason for why in unanswered.values() if not why.was_asked}
    if limits:
        raise Interrupted(", ".join(sorted(limits)))
    return Counter(why.reason for why in unanswered.values())


def require_all(failed: Counter[str], directory: EvaluationDirectory) -> None:
    """Say that responses are missing.

    Raises:
        NetworkError: some are.
    """
    if failed:
        reason, number = failed.most_common(1)[0]
        raise NetworkError(
            f"{failed.total()} responses are missing, {number} of them because: {printable(reason, 200)}",
            hint=f"The others are in {directory.path}; the same command asks for those that are missing.",
        )


def _seed(seed: object, prompt: ServedPrompt, sample: int) -> Mapping[str, int]:
    """A seed that servers take, which keep it in 32 bits with a sign."""
    if not isinstance(seed, int):
        return {}
    drawn = np.random.SeedSequence([seed, prompt.index, sample]).generate_state(1)[0]
    return {"seed": int(drawn) >> 1}


def _row(prompt: ServedPrompt, sample: int, reply: Reply) -> ResponseRow:
    return ResponseRow(
        prompt_index=prompt.index,
        sample=sample,
        instruction=prompt.instruction,
        prompt=prompt.text,
        response=reply.text or reply.refusal or "",
        tokens=reply.completion_tokens,
        truncated=reply.finish == "length",
        prompt_tokens=reply.prompt_tokens,
    )
