"""What stands in axolotl's files besides our recipe's keys: said in our words, left out with a notice, or refused where it would be missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import SettingsError
from pipeline.settings import Raw

RENAMED = {"tokenizer_config": "tokenizer", "evaluation_strategy": "eval_strategy"}
"""axolotl's name, or its older one, and the name that stands for it here."""

_OPTIMIZERS = {"adamw_hf": "adamw_torch"}
"""Names that transformers no longer has."""

_TRACKERS = {
    "use_tensorboard": "tensorboard",
    "use_wandb": "wandb",
    "wandb_project": "wandb",
    "use_mlflow": "mlflow",
    "mlflow_tracking_uri": "mlflow",
    "use_trackio": "trackio",
    "trackio_project_name": "trackio",
}
"""Keys that ask for a tracker when they are set."""

_STRATEGIES = {"eval_strategy": "evals_per_epoch", "save_strategy": "saves_per_epoch"}

_SOURCES = "data/sources and stages/extract.yaml"
_SPLITS = "validation_share in stages/tokenize.yaml"
_PACKING = "pack in stages/tokenize.yaml"
_TOKENIZER = "the tokenizer's own files, or own_tokenizer in stages/tokenize.yaml"
_RUNS = "data/runs/<recipe>"
_LAUNCH = "accelerate launch, see docs/recipes.md"
_KERNELS = "flash_attention, or PyTorch's own attention"
_RESUMED = "a run that was cut off goes on by itself"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELSEWHERE: Mapping[str, str] = {
    "datasets": _SOURCES,
    "pretraining_dataset": _SOURCES,
    "test_datasets": _SPLITS,
    "val_set_size": _SPLITS,
    "train_on_inputs": "learn in stages/tokenize.yaml",
    "sample_packing": _PACKING,
    "eval_sample_packing": _PACKING,
    "pad_to_sequence_len": _PACKING,
    "group_by_length": _PACKING,
    "excess_length_strategy": "over_long in stages/tokenize.yaml",
    "dataset_exact_deduplication": "dedup in stages/filter.yaml",
    "min_sample_len": "length in stages/filter.yaml",
    "chat_template": _TOKENIZER,
    "chat_template_jinja": _TOKENIZER,
    "special_tokens": _TOKENIZER,
    "tokens": _TOKENIZER,
    "added_tokens_overrides": _TOKENIZER,
    "output_dir": _RUNS,
    "dataset_prepared_path": "data/tokens",
    "resume_from_checkpoint": _RESUMED,
    "auto_resume_from_checkpoints": _RESUMED,
    "load_best_model_at_end": "early_stopping_patience",
    "metric_for_best_model": "early_stopping_patience",
    "deepspeed": _LAUNCH,
    "fsdp": _LAUNCH,
    "fsdp_config": _LAUNCH,
    "fsdp_version": _LAUNCH,
    "fsdp_final_state_dict_type": _LAUNCH,
    "merge_lora": "python -m pipeline export model",
    "hub_model_id": "python -m pipeline export model",
    "xformers_attention": _KERNELS,
    "sdp_attention": _KERNELS,
    "eager_attention": _KERNELS,
    "flex_attention": _KERNELS,
    "attn_implementation": _KERNELS,
}
"""Keys without a meaning in a recipe, and where the same is set instead."""

IGNORED = _words("""
    model_type tokenizer_type tokenizer_use_fast tokenizer_legacy tokenizer_use_mistral_common tokenizer_save_jinja_files base_model_config
    cls_model_config is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model trust_remote_code strict

    shuffle_merged_datasets shuffle_before_merging_datasets dataset_shard_num dataset_shard_idx skip_prepare_dataset dataset_processes
    dataset_num_proc dataset_keep_in_memory dataloader_pin_memory dataloader_num_workers dataloader_prefetch_factor dataloader_drop_last
    remove_unused_columns push_dataset_to_hub hf_use_auth_token sample_packing_group_size sample_packing_bin_size sample_packing_sequentially
    sample_packing_mp_start_method sample_packing_eff_est multipack_real_batches pretrain_multipack_buffer_size pretrain_multipack_attn
    pretraining_sample_concatenation batch_flattening eval_batch_size max_prompt_len is_preprocess preprocess_iterable total_num_tokens
    total_supervised_tokens axolotl_config_path

    save_total_limit save_only_model save_safetensors save_first_step hub_strategy hub_revision greater_is_better include_tokens_per_second
    include_tkps profiler_steps profiler_steps_start debug loss_watchdog_threshold loss_watchdog_patience eval_table_size
    eval_table_max_new_tokens eval_max_new_tokens do_causal_lm_eval eval_causal_lm_metrics do_bench_eval bench_dataset bench_split merge_method

    device device_map world_size local_rank ddp ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters
    accelerator_config max_memory gpu_memory_limit low_cpu_mem_usage lora_on_cpu qlora_sharded_model_loading gc_steps
    experimental_skip_move_to_device embeddings_skip_upcast gradient_checkpointing_kwargs activation_offloading layer_offloading
    use_ray ray_run_name ray_num_workers resources_per_worker torch_compile torch_compile_backend torch_compile_mode use_kernels

    flash_attn_cross_entropy flash_attn_rms_norm flash_attn_fuse_qkv flash_attn_fuse_mlp flash_optimum flex_attn_compile_kwargs
    unsloth_cross_entropy_loss unsloth_lora_mlp unsloth_lora_qkv unsloth_lora_o unsloth_rms_norm unsloth_rope lora_mlp_kernel lora_qkv_kernel
    lora_o_kernel chunked_cross_entropy chunked_cross_entropy_num_chunks cut_cross_entropy llama4_linearized_experts lora_fan_in_fan_out
    liger_rope liger_rms_norm liger_glu_activation liger_layer_norm liger_fused_linear_cross_entropy liger_cross_entropy

    wandb_run_id wandb_watch wandb_log_model hf_mlflow_log_artifacts trackio_run_name trackio_space_id use_comet comet_api_key comet_workspace
    comet_project_name comet_experiment_key comet_mode comet_online comet_experiment_config vllm
    gradio_title gradio_share gradio_server_name gradio_server_port gradio_max_new_tokens gradio_temperature
""")
"""Keys that decide nothing here: classes that follow from the model's files, loading, saving, the machine, faster ways to compute the same, and
trackers' details. No code that comes with a model is run."""

_PREFERENCES = _words("""
    rl trl reward_model process_reward_model num_labels dpo_use_weighting dpo_use_logits_to_keep dpo_label_smoothing dpo_beta dpo_norm_loss
    orpo_alpha rpo_alpha simpo_gamma cpo_alpha kto_desirable_weight kto_undesirable_weight rl_beta
""")

_METHODS = _words("""
    gptq fp8 qat quantization model_quantization_config model_quantization_config_kwargs relora relora_steps relora_warmup_steps
    relora_prune_ratio relora_prune_method relora_cpu_offload jagged_restart_steps lisa_n_layers lisa_step_interval neftune_noise_alpha
    noisy_embedding_alpha unfrozen_parameters lr_groups embedding_lr embedding_lr_scale loraplus_lr_ratio loraplus_lr_embedding peft peft_use_dora
    peft_use_rslora peft_layers_to_transform peft_layers_pattern peft_layer_replication peft_trainable_token_indices lora_target_parameters
    optim_args optim_target_modules torchdistx_path lr_scheduler_kwargs lr_quadratic_warmup cosine_constant_lr_ratio lr_div_factor adam_epsilon2
    adam_beta3 use_pose pose_split_on_token_ids pose_max_context_len pose_num_chunks s2_attention sequence_parallel_degree context_parallel_size
    tensor_parallel_size heads_k_stride ring_attn_func curriculum_sampling fix_untrained_tokens resize_token_embeddings_to_32x
    mean_resizing_embeddings shrink_embeddings plugins processor_type default_system_message eot_tokens auto_find_batch_size
""")

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(_PREFERENCES, "only causal language models are trained here; take it out"),
    **dict.fromkeys(_METHODS, "it is not supported here and would change what is learned; take it out"),
    "batch_size": "write gradient_accumulation_steps instead",
    "float16": "write fp16: true instead",
    "float32": "write bf16: false instead",
    "lora_model_dir": "merge that adapter first, and name the merged model as base_model",
}
"""Keys of axolotl that would be missed, and what to do; refused when they are set to anything but an empty value, false or 0."""


def in_our_words(raw: Raw) -> tuple[Raw, list[str]]:
    """A recipe file with axolotl's ways of saying things put in ours, and one line on each kind of key that was left out.

    An empty value counts as a key that is not there. Raises SettingsError, one line a key, for what would change what is learned.
    """
    given = {RENAMED.get(name, name): value for name, value in raw.values.items() if value is not None}
    problems = [f"{raw.place((name,))}: is axolotl's; {REFUSED[name]}" for name in given if name in REFUSED and given[name]]
    if problems:
        raise SettingsError(problems)
    ours = {name: value for name, value in given.items() if name not in REFUSED and name not in ELSEWHERE and name not in IGNORED}
    _take_optimizer(ours)
    _take_strategies(ours)
    _take_trackers(ours)
    return Raw(raw.where, ours, raw.lines), _notices(raw, given)


def _take_optimizer(ours: dict[str, Any]) -> None:
    if "optimizer" in ours:
        ours["optimizer"] = _OPTIMIZERS.get(str(ours["optimizer"]), ours["optimizer"])


def _take_strategies(ours: dict[str, Any]) -> None:
    """``epoch`` is once a pass; ``steps`` and ``no`` are what the other keys say already."""
    for name, count in _STRATEGIES.items():
        if ours.get(name) == "epoch":
            ours.setdefault(count, 1)
        if ours.get(name) in ("epoch", "steps", "no", False):
            del ours[name]


def _take_trackers(ours: dict[str, Any]) -> None:
    wanted = ours.pop("report_to", [])
    listed = [name for name in (wanted if isinstance(wanted, list) else [wanted]) if name != "none"]
    asked = [tracker for name, tracker in _TRACKERS.items() if ours.get(name)]
    refused = [tracker for name, tracker in _TRACKERS.items() if ours.get(name) is False]
    ours |= {"report_to": list(dict.fromkeys(name for name in [*listed, *asked] if name not in refused))}
    for name in _TRACKERS:
        if name.startswith("use_"):
            ours.pop(name, None)
    if not ours["report_to"]:
        del ours["report_to"]


def _notices(raw: Raw, given: Mapping[str, Any]) -> list[str]:
    places: dict[str, list[str]] = {}
    for name in given:
        if name in ELSEWHERE:
            places.setdefault(ELSEWHERE[name], []).append(name)
    ignored = [name for name in given if name in IGNORED]
    parts = [f"{', '.join(names)} (here: {place})" for place, names in places.items()]
    parts += [f"{', '.join(ignored)} (nothing here depends on them)"] if ignored else []
    notices = [f"{raw.where}: axolotl's keys without a meaning in a recipe: {'; '.join(parts)}"] if parts else []
    if isinstance(given.get("gradient_checkpointing"), str):
        notices.append(f"{raw.place(('gradient_checkpointing',))}: is taken as true; activations stay on the device")
    return notices
