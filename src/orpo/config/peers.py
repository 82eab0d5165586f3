"""Keys of TRL, transformers, Axolotl, LLaMA-Factory and Unsloth, and what they are here.

People arrive with a configuration of one of these.  An unknown key that is theirs is answered with ours, or
with the reason why none is needed; where values must change with the name, that is said too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Advice:
    """What to say about another tool's key, and the key of ours that replaces it, if one does."""

    text: str
    key: str | None = None


_RENAMED: dict[str, str] = {
    "model": "base_model model_name model_name_or_path model_path pretrained_model_name_or_path",
    "model.revision": "model_revision",
    "model.dtype": "torch_dtype model_dtype",
    "model.lora.r": "lora_r lora_rank",
    "model.lora.alpha": "lora_alpha",
    "model.lora.dropout": "lora_dropout",
    "model.lora.target": "lora_target lora_target_modules target_modules lora_modules",
    "model.lora.rslora": "use_rslora peft_use_rslora",
    "model.lora.dora": "use_dora peft_use_dora",
    "model.lora.modules_to_save": "modules_to_save lora_modules_to_save additional_target",
    "training.optimizer": "optimizer",
    "data.train": "dataset datasets dataset_name dataset_path train_dataset train_file data_path",
    "data.eval": "eval_dataset eval_file test_datasets val_set_size val_size validation_split",
    "data.train.split": "dataset_train_split train_split dataset_split",
    "data.eval.split": "dataset_test_split test_split eval_split",
    "data.train.config": "dataset_config dataset_config_name",
    "data.max_length": "cutoff_len sequence_len max_seq_length max_seq_len model_max_length",
    "data.truncation": "truncation_mode truncation_side excess_length_strategy",
    "data.template": "chat_template chat_template_path chat_template_jinja",
    "objective.lambda": "beta orpo_alpha orpo_beta pref_beta rl_beta lambda_",
    "training.epochs": "num_train_epochs num_epochs n_epochs max_epochs",
    "training.max_steps": "num_steps num_train_steps total_steps",
    "training.learning_rate": "lr peak_lr",
    "training.schedule": "lr_scheduler lr_scheduler_type scheduler",
    "training.adam_beta1": "beta1",
    "training.adam_beta2": "beta2",
    "training.adam_epsilon": "adam_eps eps epsilon",
    "training.max_grad_norm": "gradient_clipping grad_clip max_norm",
    "training.gradient_checkpointing": "use_gradient_checkpointing activation_checkpointing",
    "training.router_loss": "router_aux_loss_coef aux_loss_coef moe_aux_loss_coef",
    "training.shuffle": "shuffle_dataset shuffle_merged_datasets",
    "training.seed": "random_state random_seed data_seed",
    "training.log_every": "logging_steps log_steps",
    "training.eval_every": "eval_steps",
    "training.report_to": "log_with logger",
    "training.checkpoint_every": "save_steps",
    "training.keep_checkpoints": "save_total_limit",
    "output": "output_dir output_path save_path",
}
"""Our keys, and what others call them."""

_BATCH = (
    "`training.batch_size` is the pairs of one optimizer step over all devices: the product of the batch "
    "size per device, the accumulation steps and the devices"
)

_EXPLAINED: dict[str, str] = {
    f"{_BATCH}; what fits on a device is `training.max_tokens`": (
        "per_device_train_batch_size train_batch_size micro_batch_size"
    ),
    f"not needed: `training.max_tokens` bounds the memory, and the split follows from it. {_BATCH}": (
        "gradient_accumulation_steps accumulation_steps"
    ),
    "not needed: `training.max_tokens` bounds evaluation too": (
        "per_device_eval_batch_size eval_batch_size auto_find_batch_size"
    ),
    (
        "not needed: `data.max_length` bounds prompt + response, and `data.truncation` says what happens "
        "beyond it"
    ): ("max_prompt_length max_completion_length max_response_length max_target_length"),
    "it is `training.warmup` here: a fraction of all steps below 1, else a number of steps": (
        "warmup_ratio warmup_steps num_warmup_steps lr_warmup_steps"
    ),
    "it is `training.precision` here: `auto`, `float32`, `bfloat16` or `float16`": (
        "bf16 fp16 tf32 fp32 pure_bf16 mixed_precision"
    ),
    "the weight of the odds-ratio term is `objective.lambda`, LoRA's scale is `model.lora.alpha`": "alpha",
    "giving `model.lora` trains adapters, leaving it out trains all weights": (
        "use_peft adapter peft_config lora_config finetuning_type full_finetuning"
    ),
    "it is `model.lora.target: all-linear` here, the default": "lora_target_linear",
    "not needed: this is ORPO; `objective.name` and `objective.definition` say which form of it": (
        "pref_loss loss_type rl stage trainer trainer_type"
    ),
    "not needed: the command says what to do, and held-out pairs (`data.eval`) are evaluated when given": (
        "do_train do_eval do_predict predict_with_generate generate_during_eval"
    ),
    (
        "`data.eval` turns evaluation on and `training.eval_every` is the steps between; it always runs "
        "before the first step and at the end"
    ): ("eval_strategy evaluation_strategy evals_per_epoch eval_on_start"),
    "`training.log_every` is the steps between rows": "logging_strategy logging_first_step",
    (
        "it is `training.optimizer` here: `adamw` for adamw_torch and adamw_torch_fused, `adamw_8bit` for "
        "AdamW of 8 bits, whoever's and paged or not"
    ): "optim optimizer_type",
    "not needed: the model's dropout is always 0; `model.lora.dropout` is separate": "disable_dropout",
    "not needed: ORPO has no reference model": (
        "ref_model reference_model ref_model_name_or_path precompute_ref_log_probs sync_ref_model"
    ),
    "not needed: ORPO's supervised term has weight 1; `objective.lambda` weighs the other one": (
        "pref_ftx sft_weight nll_weight rpo_alpha"
    ),
    "not supported: no definition of ORPO has it, DPO has `objective.label_smoothing`": (
        "label_smoothing label_smoothing_factor"
    ),
    "`objective.definition` says whether the supervised term covers the prompt (`trl`) or not (`paper`)": (
        "train_on_inputs mask_prompt completion_only_loss"
    ),
    "not needed: micro-batches are formed by length within `training.max_tokens`": (
        "sample_packing packing eval_sample_packing group_by_length"
    ),
    "not needed: padding never reaches the loss, and a missing pad token is no error": (
        "pad_to_sequence_len pad_to_max_length padding_value label_pad_token_id padding_free padding_side"
    ),
    "not needed: the tokenizer of `model` is used as it is": (
        "pad_token eos_token bos_token special_tokens add_bos_token add_eos_token tokenizer_type tokenizer"
    ),
    "not needed: rows are read and tokenized once, before training": (
        "dataset_num_proc dataloader_num_workers preprocessing_num_workers dataset_processes num_proc "
        "dataset_prepared_path overwrite_cache remove_unused_columns dataloader_drop_last "
        "dataloader_pin_memory"
    ),
    (
        "`training.checkpoint_every` is the steps between checkpoints, `training.keep_checkpoints` says how "
        "many are kept, and --resume auto goes on from them"
    ): (
        "save_strategy saves_per_epoch save_only_model save_safetensors resume_from_checkpoint "
        "auto_resume_from_checkpoints"
    ),
    "`training.select` says which step is saved: `best` has the lowest evaluation loss": (
        "load_best_model_at_end"
    ),
    "no run is overwritten: give `output` a new or empty directory": "overwrite_output_dir",
    "start the run with `torchrun` to use several devices; nothing more is configured for it": (
        "ddp_timeout local_rank ddp_find_unused_parameters num_processes num_machines"
    ),
    "`training.parallel: fsdp` shares weights, gradients and optimizer state out; all else is fixed": (
        "fsdp fsdp_config fsdp_version fsdp_transformer_layer_cls_to_wrap distributed_type"
    ),
    (
        "DeepSpeed is not used: `training.parallel: fsdp` shares out what ZeRO-3 does, and "
        "`training.cpu_offload` is its offload"
    ): (
        "deepspeed deepspeed_config deepspeed_plugin zero_optimization zero_stage zero3_init_flag "
        "offload_optimizer offload_param offload_optimizer_device offload_param_device "
        "train_micro_batch_size_per_gpu"
    ),
    "it is `model.quantization` here: `nf4` is 4 bits with quantised scales, and there is no other kind": (
        "load_in_4bit load_in_8bit quantization_bit quantization_method bnb_4bit_quant_type bnb_config "
        "quantization_config use_bnb_nested_quant bnb_4bit_compute_dtype bnb_4bit_use_double_quant"
    ),
    "code from a hub is never run": "trust_remote_code model_init_kwargs model_type",
    "not needed: transformers chooses the attention that suits the model and the device": (
        "attn_implementation flash_attention flash_attn sdp_attention xformers_attention use_liger_kernel"
    ),
    "not supported: `model/` in the run directory is in the hub's format; upload it with `hf upload`": (
        "push_to_hub hub_model_id hub_strategy hub_private_repo"
    ),
    "set through the tracker's environment variables; `training.report_to` names the trackers": (
        "run_name wandb_project wandb_entity wandb_name wandb_watch wandb_log_model wandb_run_id "
        "mlflow_tracking_uri"
    ),
    "not needed: `metrics.jsonl` in the run directory has every figure": "plot_loss logging_dir",
    "YAML 1.2 has no merge keys; write the keys out": "<<",
    "this section is for `orpo compare`, which trains every system in it": "compare",
}
"""What to say, and about which keys."""


def _advice() -> Iterator[tuple[str, Advice]]:
    for ours, theirs in _RENAMED.items():
        for name in theirs.split():
            yield name, Advice(f"it is `{ours}` here", ours)
    for text, theirs in _EXPLAINED.items():
        for name in theirs.split():
            yield name, Advice(text)


ADVICE: Mapping[str, Advice] = MappingProxyType(dict(_advice()))
"""Other tools' keys, in lower case."""
