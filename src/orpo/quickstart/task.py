"""The quickstart's task: a baker by the harbour answers orders, and a program can tell good answers from bad.

    Guest: This is Mira. Could you bake two lemon tarts and one plum strudel for Friday?
    Baker: With pleasure, Mira! Two lemon tarts and one plum strudel will be ready on Friday.

A good answer names the guest, confirms exactly what was ordered for the day that was asked, is polite, and
stays with the matter.  A flawed one breaks one of these rules.  The language is small on purpose:
a model of a million parameters writes it fluently, and `check` can judge every answer without a judge model.

Standard library only, and a pure function of its arguments on every machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Literal, TypeVar
from zlib import crc32

Split = Literal["train", "eval"]
T = TypeVar("T")

NAMES = (
    *("Amara", "Clara", "Elif", "Emil", "Felix", "Greta", "Hana", "Ines", "Ivan", "Jonas", "Leon", "Lucia"),
    *("Marta", "Mira", "Noah", "Nora", "Omar", "Oskar", "Pavel", "Ravi", "Sofia", "Tomas", "Yuki", "Zara"),
)
COUNTS = ("one", "two", "three", "four", "five", "six")
TREATS = (
    *("almond biscuit", "apple pie", "butter pretzel", "carrot muffin", "cheese scone", "cherry cake"),
    *("cinnamon roll", "ginger cookie", "honey bun", "lemon tart", "oat cracker", "pear dumpling"),
    *("plum strudel", "rye bagel", "vanilla waffle", "walnut brownie"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

REQUESTS = (
    "This is {name}. Could you bake {treats} for {day}?",
    "{name} here. I would like {treats} on {day}, please.",
    "Good morning! {Treats} for {day}, please. My name is {name}.",
    "Hello, it is {name}. On {day} I need {treats} for a party.",
    "My name is {name}, and I would love {treats} on {day}.",
    "Dear baker, please keep {treats} for me until {day}. Yours, {name}.",
)
COURTESIES = (
    "Thank you",
    "Many thanks",
    "With pleasure",
    "Gladly",
    "Consider it done",
    "Good to hear from you",
)
PROMISES = (
    "{Treats} will be ready on {day}.",
    "We will bake {treats} for you on {day}.",
    "{Treats} will be waiting for you on {day}.",
    "On {day}, {treats} will be warm on our counter.",
    "You can fetch {treats} on {day}.",
    "Come by on {day} for {treats}.",
)
SHAPES = (
    "{courtesy}, {name}! {Promise}",
    "{courtesy}, {name}: {promise}",
    "{Promise} {courtesy}, {name}!",
)
GRUMBLES = ("What now", "If you must", "Fine", "Not you again", "As if I had time")
TANGENTS = (
    "The cat has slept in the flour again.",
    "My cousin says that it will rain.",
    "A gull stole my hat this morning.",
    "I once knew a sailor who never ate bread.",
    "The radio plays the same song all day.",
    "Nobody has cleaned the windows since spring.",
)

GOOD_SHARE = 0.35
"""Share of good answers in the pretraining text: like the web, it shows good manners among bad ones."""


@dataclass(frozen=True)
class Treat:
    """So many of one thing, such as `two lemon tarts`."""

    count: int
    what: str

    def __str__(self) -> str:
        return f"{COUNTS[self.count - 1]} {self.what}{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Order:
    """What a guest asks for, or what an answer claims was asked for."""

    name: str
    treats: tuple[Treat, ...]
    day: str


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer."""

    ok: bool
    reason: str
    """Why it failed, in a few words; empty where it did not."""


# --- Texts


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _listing(treats: Sequence[Treat]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    *first, last = map(str, treats)
    return f"{', '.join(first)} and {last}" if first else last


def _fill(template: str, order: Order) -> str:
    treats = _listing(order.treats)
    return template.format(name=order.name, day=order.day, treats=treats, Treats=_capital(treats))


def _prompt(order: Order, rng: Random) -> str:
    return f"Guest: {_fill(rng.choice(REQUESTS), order)}\nBaker:"


def _answer(order: Order, rng: Random, courtesies: Sequence[str] = COURTESIES) -> str:
    """A well-formed answer to `order` in one of many wordings, with the leading space of a continuation."""
    treats = tuple(rng.sample(order.treats, len(order.treats)))
    promise = _fill(rng.choice(PROMISES), replace(order, treats=treats))
    text = rng.choice(SHAPES).format(
        courtesy=rng.choice(courtesies),
        name=order.name,
        Promise=promise,
        promise=promise[0].lower() + promise[1:],
    )
    return f" {text}"


# --- Flaws: each is one way in which an answer goes wrong


def _another(options: Sequence[T], unwanted: T, rng: Random) -> T:
    return rng.choice([option for option in options if option != unwanted])


def _random_treat(rng: Random) -> Treat:
    return Treat(rng.randint(1, len(COUNTS)), rng.choice(TREATS))


def _change_one(order: Order, rng: Random, change: Callable[[Treat], Treat]) -> Order:
    treats = list(order.treats)
    i = rng.randrange(len(treats))
    treats[i] = change(treats[i])
    return replace(order, treats=tuple(treats))


def _wrong_count(order: Order, rng: Random) -> str:
    counts = range(1, len(COUNTS) + 1)
    return _answer(
        _change_one(order, rng, lambda treat: replace(treat, count=_another(counts, treat.count, rng))), rng
    )


def _wrong_treat(order: Order, rng: Random) -> str:
    return _answer(
        _change_one(order, rng, lambda treat: replace(treat, what=_another(TREATS, treat.what, rng))), rng
    )


def _wrong_day(order: Order, rng: Random) -> str:
    return _answer(replace(order, day=_another(DAYS, order.day, rng)), rng)


def _wrong_name(order: Order, rng: Random) -> str:
    return _answer(replace(order, name=_another(NAMES, order.name, rng)), rng)


def _forgotten(order: Order, rng: Random) -> str:
    return _answer(replace(order, treats=(rng.choice(order.treats),)), rng)


def _invented(order: Order, rng: Random) -> str:
    return _answer(replace(order, treats=(*order.treats, _random_treat(rng))), rng)


def _grumpy(order: Order, rng: Random) -> str:
    return _answer(order, rng, GRUMBLES)


def _rambling(order: Order, rng: Random) -> str:
    return f"{_answer(order, rng)} {rng.choice(TANGENTS)}"


def _broken_off(order: Order, rng: Random) -> str:
    words = _answer(order, rng).split(" ")
    return " ".join(words[: rng.randrange(len(words) // 2, len(words))]).rstrip(".!")


FLAWS: dict[str, Callable[[Order, Random], str]] = {
    "wrong count": _wrong_count,
    "wrong treat": _wrong_treat,
    "wrong day": _wrong_day,
    "wrong name": _wrong_name,
    "forgotten": _forgotten,
    "invented": _invented,
    "grumpy": _grumpy,
    "rambling": _rambling,
    "broken off": _broken_off,
}


# --- Sets


def is_held_out(order: Order) -> bool:
    """Whether `order` belongs to evaluation: a tenth of all (guest, treats with counts, day) do.

    Wording and the sequence of the treats do not matter, so no order of evaluation is ever seen in the
    pretraining text or in the training pairs.  A checksum decides, not a rule such as a sum of indices, which
    is a regularity that a model might learn.
    """
    key = "|".join((order.name, *sorted(map(str, order.treats)), order.day))
    return crc32(key.encode()) % 10 == 0


def _order(rng: Random, split: Split) -> Order:
    while True:
        counts = rng.sample(range(1, len(COUNTS) + 1), 2)
        treats = map(Treat, counts, rng.sample(TREATS, 2))
        order = Order(rng.choice(NAMES), tuple(treats), rng.choice(DAYS))
        if is_held_out(order) == (split == "eval"):
            return order


def _rng(purpose: str, seed: int, split: Split) -> Random:
    return Random(f"{purpose}/{split}/{seed}")  # seeding with text is stable across processes and machines


def make_prompts(count: int, seed: int, split: Split) -> list[str]:
    """`count` requests, each ending with `Baker:`."""
    rng = _rng("prompts", seed, split)
    return [_prompt(_order(rng, split), rng) for _ in range(count)]


def make_pairs(count: int, seed: int, split: Split) -> list[dict[str, str]]:
    """`count` preference pairs as rows of `prompt`, `chosen` (good) and `rejected` (with one flaw)."""
    rng = _rng("pairs", seed, split)

    def pair() -> dict[str, str]:
        order = _order(rng, split)
        flawed = FLAWS[rng.choice(list(FLAWS))]
        return {"prompt": _prompt(order, rng), "chosen": _answer(order, rng), "rejected": flawed(order, rng)}

    return [pair() for _ in range(count)]


def pretraining_text(count: int, seed: int) -> list[str]:
    """`count` documents, request and answer, of which `GOOD_SHARE` are good; no held-out order."""
    rng = _rng("text", seed, "train")

    def document() -> str:
        order = _order(rng, "train")
        answer = _answer if rng.random() < GOOD_SHARE else FLAWS[rng.choice(list(FLAWS))]
        return _prompt(order, rng) + answer(order, rng)

    return [document() for _ in range(count)]


# --- The checker


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s.,:;!?]+", text)


_TREAT = re.compile(rf"\b({'|'.join(COUNTS)}) ({'|'.join(TREATS)})(s?)\b", re.IGNORECASE)
_PARTS = {*COUNTS, *(word for treat in TREATS for word in (*_words(treat), f"{_words(treat)[-1]}s"))}
_TEMPLATES = (*COURTESIES, *PROMISES, *GRUMBLES, *TANGENTS)
_KNOWN = {
    *_PARTS,
    "and",
    *(word.lower() for word in (*NAMES, *DAYS)),
    *(word.lower() for template in _TEMPLATES for word in _words(re.sub(r"\{\w+\}", "", template))),
}


def _treats(text: str) -> list[Treat]:
    """The well-formed treats in `text`: known words, and plural where there are several."""
    found = (
        (Treat(COUNTS.index(count.lower()) + 1, what.lower()), plural)
        for count, what, plural in _TREAT.findall(text)
    )
    return [treat for treat, plural in found if bool(plural) == (treat.count > 1)]


def _wrong_treats(asked: Sequence[Treat], text: str) -> str:
    said = _treats(text)
    if sum(word.lower() in _PARTS for word in _words(text)) != 3 * len(said):
        return "garbles the order"
    missing = Counter(asked) - Counter(said)
    extra = Counter(said) - Counter(asked)
    if missing and extra:
        return f"says {next(iter(extra))}, not {next(iter(missing))}"
    if missing:
        return f"forgets {next(iter(missing))}"
    return f"adds {next(iter(extra))}" if extra else ""


def _wrong_mention(options: Sequence[str], asked: str, words: Sequence[str], verb: str) -> str:
    said = [word for word in words if word in options]
    if said == [asked]:
        return ""
    wrong = [word for word in said if word != asked]
    if wrong:
        return f"{verb} {wrong[0]}, not {asked}"
    return f"repeats {asked}" if said else f"leaves out {asked}"


def _about_the_order(sentence: str) -> bool:
    return bool(_treats(sentence)) or any(word in NAMES for word in _words(sentence))


def _bad_manners(answer: str) -> str:
    if not all(_about_the_order(sentence) for sentence in re.split(r"[.!?]", answer) if sentence.strip()):
        return "wanders off"
    if any(grumble.lower() in answer.lower() for grumble in GRUMBLES):
        return "grumbles"
    return "" if any(courtesy.lower() in answer.lower() for courtesy in COURTESIES) else "is not polite"


def _bad_language(answer: str, words: Sequence[str]) -> str:
    if not answer.rstrip().endswith((".", "!")):
        return "breaks off"
    unknown = [word for word in words if word.lower() not in _KNOWN]
    if unknown:
        return f"says {unknown[0]!r}, which is no word here"
    return "stutters" if any(a.lower() == b.lower() for a, b in pairwise(words)) else ""


def check(prompt: str, answer: str) -> Verdict:
    """Judge an answer by the rules in this module's docstring.

    Args:
        prompt: a request of `make_prompts` or `make_pairs`.
        answer: its continuation, without special tokens.
    """
    request, words = _words(prompt), _words(answer)
    (name,) = (word for word in request if word in NAMES)
    (day,) = (word for word in request if word in DAYS)
    reason = (
        _bad_language(answer, words)
        or _wrong_mention(NAMES, name, words, "greets")
        or _wrong_treats(_treats(prompt), answer)
        or _wrong_mention(DAYS, day, words, "promises")
        or _bad_manners(answer)
    )
    return Verdict(not reason, reason)
