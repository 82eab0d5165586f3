"""Small tokenizers, one for each way in which real ones surprise, built here so that no test needs a network.

All are trained on the same few lines; what differs is what stands around a text and inside a template.
"""

from __future__ import annotations

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

CORPUS = [
    "the quick brown fox jumps over the lazy dog and the dog sleeps on",
    "Human: what is the answer to this question? Assistant: the answer is that there is no answer.",
    "user system assistant model think hello there world, how are you today? I am fine, thank you.",
]

CHATML_LIKE = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA_LIKE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<start>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim"
    " + '<end>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start>model\n' }}{% endif %}"
)
LLAMA_LIKE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'].lstrip('\n') + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
UNCLOSED = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
UNSTABLE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: <think>' }}{% endif %}"
)


def byte_level(
    *,
    bos: str | None = None,
    eos: str | None = "</s>",
    special: tuple[str, ...] = (),
    adds_bos: bool = False,
    adds_eos: bool = False,
    template: str | None = None,
) -> PreTrainedTokenizerBase:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it: any text is encoded without loss."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer, bos, eos, special, adds_bos, adds_eos, template)


def space_prefix(
    *,
    bos: str | None = "<s>",
    eos: str | None = "</s>",
    special: tuple[str, ...] = (),
    adds_bos: bool = True,
    template: str | None = None,
) -> PreTrainedTokenizerBase:
    """SentencePiece's manner, as Llama 2 and Mistral have it: a space before the text, bytes as fallback."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    learned.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    vocab = [f"<0x{byte:02X}>" for byte in range(256)] + sorted(
        model["vocab"], key=model["vocab"].__getitem__
    )

    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(vocab)},
            merges=[(left, right) for left, right in model["merges"]],
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.pre_tokenizer = learned.pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, bos, eos, special, adds_bos, False, template)


def _wrapped(
    tokenizer: Tokenizer,
    bos: str | None,
    eos: str | None,
    special: tuple[str, ...],
    adds_bos: bool,
    adds_eos: bool,
    template: str | None,
) -> PreTrainedTokenizerBase:
    names = [name for name in (bos, eos, *special) if name is not None]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    around = ([bos] if adds_bos else []) + ["$A"] + ([eos] if adds_eos else [])
    if len(around) > 1:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(str(part) for part in around),
            special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
        )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
    wrapped.chat_template = template
    return wrapped
