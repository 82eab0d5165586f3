"""Choose the chat template that turns conversations into text, and give it to the tokenizer to be saved.

``data.template`` is `auto`, `none`, the name of a bundled template or the path of a ``.jinja`` file.  The
choice depends on the prompts: text prompts stay plain unless a template is named.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from orpo.data.pairs import Prompt
from orpo.data.specials import added_prefix, added_tokens
from orpo.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

REQUIRED_TOKENS: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "transcript": (),
}
"""The bundled templates, with the special tokens that each one needs."""


@dataclass(frozen=True)
class Template:
    """A chosen chat template."""

    name: str
    """`none`, `model` (the model's own), a bundled name or the path of a file."""

    text: str | None
    """Jinja source, absent for `none`."""

    wraps_text: bool = False
    """Whether a text prompt becomes the user's turn of a conversation, instead of staying plain."""

    @property
    def sha256(self) -> str | None:
        """Hash of the source, absent for `none`."""
        return None if self.text is None else hashlib.sha256(self.text.encode()).hexdigest()


def resolve_template(tokenizer: PreTrainedTokenizerBase, choice: str, prompts: Iterable[Prompt]) -> Template:
    """The template that `choice` means for these prompts; it becomes the tokenizer's own.

    * `auto`: conversations take the model's template, or `transcript` where it has none.  Text prompts stay
      plain, with a warning if the model has a template.
    * `none`: no template.
    * a name or a file: this template.  Text prompts become the user's turn of a conversation.

    Args:
        tokenizer: its `chat_template` is set to the chosen source; with no template it is left as it is.
        choice: value of ``data.template``.
        prompts: all prompts of the run, read only as far as needed.

    Raises:
        ConfigError: `choice` is unknown or unreadable, needs tokens that the tokenizer lacks, or is `none`
            although there are conversations.
    """
    has_conversations, has_text = _kinds(prompts)
    if choice == "none":
        if has_conversations:
            raise ConfigError(
                "data.template: none leaves text as it is, but there are prompts made of messages",
                hint="Use `data.template: auto`, or name a template: " + _names(),
            )
        return Template("none", None)
    if choice == "auto":
        if has_text and tokenizer.chat_template is not None:
            logger.warning(
                "Prompts that are plain text stay plain, although the model has a chat template. To use a "
                "template, write prompts as messages, or name one with data.template."
            )
        if not has_conversations:
            return Template("none", None)
        if tokenizer.chat_template is not None:
            return Template("model", own_template(tokenizer))
        template = Template("transcript", _bundled(tokenizer, "transcript"))
    elif choice in REQUIRED_TOKENS:
        template = Template(choice, _bundled(tokenizer, choice), wraps_text=True)
    elif choice.endswith(".jinja"):
        template = Template(choice, _read(Path(choice).expanduser()), wraps_text=True)
    else:
        raise ConfigError(
            f"data.template: there is no template {choice!r}",
            hint=f"Use auto, none, {_names()}, or the path of a .jinja file.",
        )
    tokenizer.chat_template = template.text
    return template


def _kinds(prompts: Iterable[Prompt]) -> tuple[bool, bool]:
    """Whether any prompt is a conversation, and whether any is text."""
    seen: set[bool] = set()
    for prompt in prompts:
        seen.add(isinstance(prompt, str))
        if len(seen) == 2:
            break
    return False in seen, True in seen


def recorded_template(
    tokenizer: PreTrainedTokenizerBase, name: str, sha256: str | None, *, wraps_text: bool
) -> Template:
    """The template that a model was trained with, as its tokenizer has kept it.

    Args:
        tokenizer: of the trained model.
        name: see `Template`.
        sha256: what it was; None for `none`.
        wraps_text: see `Template`.

    Raises:
        CheckpointError: the tokenizer has another one.
    """
    if sha256 is None:
        return Template(name, None)
    text = own_template(tokenizer) if tokenizer.chat_template is not None else ""
    template = Template(name, text, wraps_text=wraps_text)
    if template.sha256 != sha256:
        raise CheckpointError(
            f"the chat template in model/ is not {name}, which the run was trained with",
            hint="Bring the tokenizer's files back, or name model/ itself in place of the run.",
        )
    return template


def own_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template that `apply_chat_template` takes by default; a model may have several, by name.

    Args:
        tokenizer: one that has a template.

    Raises:
        ConfigError: it has several, and none is the default.
    """
    own = tokenizer.chat_template
    if isinstance(own, dict) and "default" not in own:
        raise ConfigError(
            f"the model has several chat templates ({', '.join(sorted(own))}) and none is the default",
            hint="Save the right one to a .jinja file and name the file in data.template.",
        )
    return tokenizer.get_chat_template()


def _bundled(tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    """Source of a bundled template, made to start with BOS if the tokenizer's own encoding does.

    Who uses the saved model renders with its template and then encodes without special tokens; only a
    template that writes BOS itself gives the ids of training there.
    """
    missing = [token for token in REQUIRED_TOKENS[name] if token not in added_tokens(tokenizer)]
    if missing:
        raise ConfigError(
            f"data.template: {name} needs {' and '.join(missing)} among the tokenizer's special tokens",
            hint="Use `data.template: transcript`, which needs no tokens.",
        )
    source = (files("orpo.data") / "named_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    writes_bos = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in added_prefix(tokenizer)
    return "{{- bos_token -}}\n" + source if writes_bos else source


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"data.template: cannot read {path}: {error.strerror}", hint="Check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"data.template: {path} is not UTF-8 (byte {error.start})") from None


def _names() -> str:
    return ", ".join(sorted(REQUIRED_TOKENS))
