"""What a trainer is, as `run.json` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_assert_trl.promises import algorithm_of, promised_metrics


def describe(trainer: Any) -> dict[str, Any]:
    """Return the fields of `run.json` that any trainer can tell: algorithm, config, device and promised metrics."""
    return {
        "algorithm": algorithm_of(trainer),
        "config": configuration(trainer),
        "device": device_of(trainer),
        "promised": list(promised_metrics(trainer)),
    }


def configuration(trainer: Any) -> dict[str, Any]:
    """Return the trainer's hyper-parameters as JSON: its arguments, and the names of its reward functions."""
    arguments = trainer.args.to_dict() if hasattr(trainer.args, "to_dict") else vars(trainer.args)
    config = {name: _plain(value) for name, value in arguments.items()}
    functions = getattr(trainer, "reward_func_names", None)
    if functions is None and getattr(trainer, "reward_model", None) is not None:
        functions = [name_of(trainer.reward_model)]
    if functions is not None:
        config["reward_functions"] = list(functions)
    dataset = getattr(trainer, "train_dataset", None)
    config["dataset_rows"] = len(dataset) if dataset is not None and hasattr(dataset, "__len__") else None
    model = policy_of(trainer)
    config["model_type"] = getattr(getattr(model, "config", None), "model_type", None)
    config["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    return config


def policy_of(trainer: Any) -> Any:
    """Return the model whose weights the trainer saves, free of wrappers."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return getattr(model, "policy", model)


def device_of(trainer: Any) -> str:
    """Return the device's name: `cpu`, or `cuda:0 (NVIDIA ...)`."""
    import torch

    device = trainer.accelerator.device
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def name_of(thing: Any) -> str:
    """Return the name of a function or class, or of a thing's class."""
    return str(getattr(thing, "__name__", type(thing).__name__))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return str(value)
