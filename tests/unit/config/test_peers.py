"""Other tools' keys are answered with ours."""

from __future__ import annotations

import re

import pytest

from orpo.config.keys import KEYS, explain_unknown
from orpo.config.peers import ADVICE

EXTERNAL = {
    "hf upload",
    "orpo compare",
    "torchrun",
    "model/",
    "metrics.jsonl",
    "model.lora.target: all-linear",
    "training.parallel: fsdp",
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_names_only_keys_and_values_that_exist(name: str) -> None:
    values = set(re.findall(r"`([^`]+)`", " ".join(key.expected for key in KEYS.values())))
    mentioned = set(re.findall(r"`([^`]+)`", ADVICE[name].text))
    assert mentioned <= {*KEYS, *values, *EXTERNAL}
    assert ADVICE[name].key is None or ADVICE[name].key in KEYS


def test_no_key_of_ours_is_taken_for_another_tools() -> None:
    assert {key.name for key in KEYS.values()} & set(ADVICE) == {
        "alpha",  # LoRA's; also a word for ORPO's lambda
        "beta",  # DPO's; also a word for ORPO's lambda
        "label_smoothing",  # DPO's
        "modules_to_save",  # PEFT's, and of `model.lora`
        "optimizer",  # Axolotl's, and of `training`
    }


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("beta", "objective.lambda"),
        ("orpo_alpha", "objective.lambda"),
        ("pref_beta", "objective.lambda"),
        ("alpha", "objective.lambda"),
        ("per_device_train_batch_size", "training.batch_size"),
        ("micro_batch_size", "training.max_tokens"),
        ("gradient_accumulation_steps", "training.max_tokens"),
        ("num_train_epochs", "training.epochs"),
        ("max_prompt_length", "data.max_length"),
        ("cutoff_len", "data.max_length"),
        ("sequence_len", "data.max_length"),
        ("max_seq_length", "data.max_length"),
        ("lr_scheduler_type", "training.schedule"),
        ("warmup_ratio", "training.warmup"),
        ("output_dir", "output"),
        ("bf16", "training.precision"),
        ("base_model", "model"),
        ("val_set_size", "data.eval"),
        ("lora_r", "model.lora.r"),
        ("use_rslora", "model.lora.rslora"),
        ("use_dora", "model.lora.dora"),
        ("lora_modules_to_save", "model.lora.modules_to_save"),
        ("optim", "training.optimizer"),
        ("save_steps", "training.checkpoint_every"),
        ("save_total_limit", "training.keep_checkpoints"),
        ("load_best_model_at_end", "training.select"),
        ("fsdp_config", "training.parallel: fsdp"),
        ("deepspeed", "training.parallel: fsdp"),
        ("zero_optimization", "training.cpu_offload"),
    ],
)
def test_well_known_keys_of_other_tools_get_ours(theirs: str, ours: str) -> None:
    assert f"`{ours}`" in explain_unknown(theirs, "").text


@pytest.mark.parametrize("theirs", ["gradient_accumulation_steps", "max_prompt_length", "ref_model"])
def test_keys_without_counterpart_get_a_reason(theirs: str) -> None:
    assert explain_unknown(theirs, "training").text.startswith("not needed: ")
