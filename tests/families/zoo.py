"""Tiny random models of many families, with everything that makes a family different switched on.

Windows are shorter than the tests' texts; weights are large enough, and biases, norms, sinks and caps far
enough from their first values, that each of them changes the scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 97

IDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

COMMON: dict[str, Any] = IDS | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}

GPT: dict[str, Any] = IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

FALCON: dict[str, Any] = IDS | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}

HALF_SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED_EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
LATENT_ATTENTION = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "head_dim": 4,
}
SHARED_KEYS = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_chunk_size": 4}
SPARSE_SCORES = {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}


@dataclass(frozen=True)
class Family:
    """A configuration of one family."""

    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> PreTrainedModel:
        """A model in evaluation mode, without dropout."""
        torch.manual_seed(0)
        config = AutoConfig.for_model(self.model_type, **self.settings)
        model = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model


def _common(model_type: str, *settings: dict[str, Any], **more: Any) -> Family:
    merged = COMMON | more
    for part in settings:
        merged |= part
    return Family(model_type, merged)


def _gpt(model_type: str, **more: Any) -> Family:
    return Family(model_type, GPT | {"initializer_range": 0.3} | more)


SHARED: dict[str, Family] = {
    "afmoe": _common("afmoe", HALF_SLIDING, EXPERTS, num_dense_layers=1),
    "apertus": _common("apertus"),
    "arcee": _common("arcee"),
    "biogpt": _common("biogpt"),
    "bitnet": _common("bitnet"),
    "cohere": _common("cohere", logit_scale=0.25, use_qk_norm=True),
    "cohere2": _common("cohere2", HALF_SLIDING, logit_scale=0.25),
    "deepseek_v2": _common("deepseek_v2", ROUTED_EXPERTS, LATENT_ATTENTION),
    "deepseek_v3": _common("deepseek_v3", ROUTED_EXPERTS, LATENT_ATTENTION),
    "dots1": _common("dots1", HALF_SLIDING, ROUTED_EXPERTS),
    "ernie4_5": _common("ernie4_5", use_bias=True),
    "exaone4": _common("exaone4", HALF_SLIDING),
    "gemma": _common("gemma", tie_word_embeddings=True),
    "gemma2": _common("gemma2", SPARSE_SCORES, sliding_window=4, tie_word_embeddings=True),
    "gemma3": _common("gemma3_text", HALF_SLIDING, query_pre_attn_scalar=16, tie_word_embeddings=True),
    "gemma3n": _common(
        "gemma3n_text",
        SHARED_KEYS,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 4,
        intermediate_size=[48] * 4,
        altup_num_inputs=2,
        final_logit_softcapping=3.0,
    ),
    "gemma4": _common("gemma4_text", SHARED_KEYS, global_head_dim=8),
    "glm": _common("glm", partial_rotary_factor=0.5),
    "glm4": _common("glm4", partial_rotary_factor=0.5),
    "glm4_moe": _common("glm4_moe", ROUTED_EXPERTS),
    "gpt2": _gpt("gpt2"),
    "gpt2 with its own scales": _gpt("gpt2", scale_attn_by_inverse_layer_idx=True),
    "gpt_bigcode": _gpt("gpt_bigcode"),
    "gpt_neox": _common("gpt_neox", rotary_pct=0.5, use_parallel_residual=True),
    "gpt_oss": _common("gpt_oss", HALF_SLIDING, LOCAL_EXPERTS),
    "granite": _common(
        "granite",
        logits_scaling=4.0,
        attention_multiplier=0.2,
        residual_multiplier=0.5,
        embedding_multiplier=2.0,
    ),
    "granitemoe": _common("granitemoe", LOCAL_EXPERTS, logits_scaling=4.0, attention_multiplier=0.2),
    "helium": _common("helium"),
    "hunyuan": _common("hunyuan_v1_dense"),
    "jetmoe": _common("jetmoe", LOCAL_EXPERTS, kv_channels=8),
    "lfm2 of attention alone": _common("lfm2", layer_types=["full_attention"] * 2),
    "llama": _common("llama", attention_bias=True, mlp_bias=True),
    "longcat, which attends twice per layer": _common(
        "longcat_flash",
        LATENT_ATTENTION,
        num_layers=1,
        n_routed_experts=4,
        moe_topk=2,
        expert_ffn_hidden_size=16,
        ffn_hidden_size=48,
        zero_expert_num=1,
    ),
    "minicpm3": _common("minicpm3", LATENT_ATTENTION),
    "minimax_m2": _common("minimax_m2", LOCAL_EXPERTS),
    "ministral": _common("ministral", sliding_window=4),
    "mistral": _common("mistral", sliding_window=4),
    "mixtral": _common("mixtral", LOCAL_EXPERTS, sliding_window=5),
    "modernbert-decoder": _common("modernbert-decoder", HALF_SLIDING),
    "nanochat": _common("nanochat", final_logit_softcapping=3.0),
    "olmo": _common("olmo", clip_qkv=0.5),
    "olmo2": _common("olmo2"),
    "olmo3": _common("olmo3", HALF_SLIDING),
    "olmoe": _common("olmoe", EXPERTS),
    "opt": Family(
        "opt",
        IDS
        | {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
            "init_std": 0.3,
        },
    ),
    "persimmon": _common("persimmon", partial_rotary_factor=0.5),
    "phi": _common("phi", partial_rotary_factor=0.5),
    "phi3": _common("phi3", sliding_window=4),
    "phimoe without a window": _common("phimoe", LOCAL_EXPERTS, sliding_window=None, attention_bias=True),
    "qwen2": _common("qwen2", HALF_SLIDING, use_sliding_window=True),
    "qwen2_moe": _common("qwen2_moe", EXPERTS, shared_expert_intermediate_size=16),
    "qwen3": _common("qwen3"),
    "qwen3_moe": _common("qwen3_moe", EXPERTS),
    "seed_oss": _common("seed_oss"),
    "smollm3": _common("smollm3", no_rope_layers=[1, 0]),
    "starcoder2": _common("starcoder2", sliding_window=4),
    "vaultgemma": _common("vaultgemma", SPARSE_SCORES, HALF_SLIDING),
    "yarn": _common("llama", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}),
}
"""Families for which the shared layout is exact."""

NO_INTERFACE = "its attention does not go through transformers' attention interface"
WHOLE_LOGITS = {"minicpm3", "modernbert-decoder"}
"""Families that do with their head's outputs what is not known."""

RANDOM = {"phimoe without a window"}
"""Families whose training draws random numbers even without dropout."""

WITHOUT_CHECKPOINTING = {"jetmoe"}
"""Families whose layers transformers does not checkpoint."""

NO_KEYWORDS = "packed attention was called without a packed row"

PADDED: dict[str, tuple[Family, str]] = {
    "bamba": (_common("bamba", MAMBA, attn_layer_indices=[1]), "layers of type linear_attention"),
    "bloom": (_gpt("bloom", hidden_size=32), NO_INTERFACE),
    "codegen": (_gpt("codegen", rotary_dim=4), NO_INTERFACE),
    "diffllama": (_common("diffllama"), "its 2 layers make 4 calls from 2 modules"),
    "doge": (_common("doge"), "its attention depends on attention_mask"),
    "falcon": (Family("falcon", FALCON | {"alibi": False}), NO_INTERFACE),
    "falcon with alibi": (Family("falcon", FALCON | {"alibi": True}), NO_INTERFACE),
    "falcon_h1": (_common("falcon_h1", MAMBA, mamba_d_ssm=64, mamba_n_groups=1), "layers of type hybrid"),
    "gpt_neo": (
        Family(
            "gpt_neo",
            IDS
            | {
                "hidden_size": 32,
                "num_layers": 2,
                "num_heads": 4,
                "attention_types": [[["global", "local"], 1]],
                "window_size": 4,
                "max_position_embeddings": 64,
                "initializer_range": 0.3,
            },
        ),
        NO_INTERFACE,
    ),
    "gptj": (_gpt("gptj", rotary_dim=4), NO_INTERFACE),
    "granitemoehybrid": (
        _common(
            "granitemoehybrid",
            MAMBA,
            LOCAL_EXPERTS,
            layer_types=["mamba", "attention"],
            shared_intermediate_size=16,
        ),
        "layers of type linear_attention",
    ),
    "jamba": (
        _common(
            "jamba",
            num_experts=4,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            mamba_d_state=4,
            mamba_dt_rank=4,
            use_mamba_kernels=False,
        ),
        "layers of type linear_attention",
    ),
    "lfm2": (_common("lfm2", layer_types=["conv", "full_attention"]), "layers of type conv"),
    "llama4": (
        _common(
            "llama4_text",
            attention_chunk_size=4,
            layer_types=["chunked_attention", "full_attention"],
            num_local_experts=2,
            num_experts_per_tok=1,
            intermediate_size_mlp=48,
            moe_layers=[1],
        ),
        "layers of type chunked_attention",
    ),
    "mamba": (_common("mamba", state_size=4), "layers of type linear_attention"),
    "mamba2": (
        _common("mamba2", state_size=4, num_heads=8, head_dim=8, n_groups=1, chunk_size=4),
        "layers of type linear_attention",
    ),
    "minimax": (
        _common("minimax", LOCAL_EXPERTS, layer_types=["linear_attention", "full_attention"], block_size=4),
        "layers of type linear_attention",
    ),
    "mpt": (
        Family(
            "mpt",
            {
                "vocab_size": VOCABULARY,
                "d_model": 32,
                "n_heads": 4,
                "n_layers": 2,
                "max_seq_len": 64,
                "initializer_range": 0.3,
            },
        ),
        NO_INTERFACE,
    ),
    "nemotron": (_common("nemotron"), NO_KEYWORDS),
    "phimoe": (_common("phimoe", LOCAL_EXPERTS, sliding_window=4), "differs from its texts run one by one"),
    "qwen3_next": (
        _common(
            "qwen3_next",
            EXPERTS,
            layer_types=["linear_attention", "full_attention"],
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            shared_expert_intermediate_size=16,
        ),
        "layers of type linear_attention",
    ),
    "recurrent_gemma": (
        _common(
            "recurrent_gemma",
            lru_width=32,
            attention_window_size=4,
            block_types=["recurrent", "attention"],
        ),
        "layers of type linear_attention",
    ),
    "rwkv": (_common("rwkv", attention_hidden_size=32), NO_INTERFACE),
    "stablelm": (_common("stablelm"), NO_KEYWORDS),
    "xglm": (
        Family(
            "xglm",
            IDS
            | {
                "d_model": 32,
                "num_layers": 2,
                "attention_heads": 4,
                "ffn_dim": 48,
                "max_position_embeddings": 64,
                "init_std": 0.3,
            },
        ),
        NO_INTERFACE,
    ),
}
"""Families that are given padded rows, and why."""

LENGTH_DEPENDENT: dict[str, tuple[Family, str]] = {
    "dynamic": (
        _common(
            "llama",
            max_position_embeddings=16,
            rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        ),
        "its dynamic positions depend on the longest text of a batch above 16 tokens",
    ),
    "longrope": (
        _common(
            "phi3",
            sliding_window=None,
            original_max_position_embeddings=16,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 4,
                "long_factor": [4.0] * 4,
            },
        ),
        "its longrope positions depend on the longest text of a batch above 16 tokens",
    ),
}
"""Models whose positions change with the longest text of a batch, above 16 tokens."""
