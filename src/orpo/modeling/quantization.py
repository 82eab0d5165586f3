"""Base models of four bits under adapters: QLoRA (Dettmers et al. 2023, arXiv:2305.14314)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from orpo.errors import ConfigError


def quantization_config(quantization: str, products: torch.dtype) -> BitsAndBytesConfig:
    """How transformers has bitsandbytes quantise the linear layers, all but the head.

    Args:
        quantization: `nf4`: 4-bit NormalFloat, its scales quantised too; 4.13 bits for each weight.
        products: the type that weights are multiplied in.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    try:
        # transformers would find out while it loads the model, and raise an error of its own.
        import bitsandbytes  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"model.quantization: {quantization} is bitsandbytes', which cannot be imported: {error}",
            hint='Install it with `pip install "orpo[bitsandbytes]"`, or leave model.quantization out.',
        ) from None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=products,
    )


def keep_codes(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from writing the weights anew, with scales of bfloat16, once they are used on a CPU.

    It does so in the first pass without gradients, on processors with AVX512-BF16, and for those alone.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether some of its weights are kept in fewer bits than they are used in."""
    return getattr(model, "hf_quantizer", None) is not None


@contextmanager
def saved_unquantized(model: PreTrainedModel) -> Iterator[None]:
    """Lets `save_pretrained` write weights that are given to it instead of a model's own quantised ones."""
    quantizer, config = model.hf_quantizer, model.config.quantization_config
    model.hf_quantizer = None  # type: ignore[assignment]
    del model.config.quantization_config  # pyright: ignore[reportAttributeAccessIssue]  set for this model
    try:
        yield
    finally:
        model.hf_quantizer, model.config.quantization_config = quantizer, config
