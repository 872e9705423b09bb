"""Checkpoints that the ranks of a training wrote to resume from (ZeRO): Adam's state in a file for each rank.

The weights are in one file, and under stage 3 in those of the ranks:

    _actor/latest                                         the name of the newest of the folders below
    _actor/global_step8/mp_rank_00_model_states.pt        stages 0 to 2: the weights
    _actor/global_step8/zero_pp_rank_0_mp_rank_00_model_states.pt       stage 3: shapes, per rank
    _actor/global_step8/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt  per rank: fp32 weights, Adam's moments
    _critic/...                                           the same of another model

Nothing in the files is run: torch reads them with `weights_only`, and the few classes of the framework that they name
are read as empty labels. A file that names anything else is not opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rlhf_assert.checkpoints.header import TensorEntry
from rlhf_assert.checkpoints.issues import Issue, critical, note

MODEL, OPTIMIZER = "*_model_states.pt", "*_optim_states.pt"
LABELS = ("deepspeed.", "numpy.")
"""Packages whose names in a file are read as labels: loss scaler, ZeRO stage, random states of data loaders."""
DTYPES = {"torch.bfloat16": "BF16", "torch.float16": "F16", "torch.float32": "F32", "torch.float64": "F64"}
_RANK = re.compile(r"zero_pp_rank_(\d+)_")


class Label:
    """What stands for an object of the framework; `value` is its first argument, other attributes are its state."""

    def __init__(self, *arguments: Any) -> None:
        self.value = arguments[0] if arguments else None


def find_partitioned(path: Path) -> Path | None:
    """Return the folder of rank files that a path means: itself, the newest in it, or that of its first model.

    None where there is no such folder, or the path holds whole weights beside it, which say more.
    """
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    if any(path.glob(MODEL)) or any(path.glob(OPTIMIZER)):
        return path
    latest = path / "latest"
    if latest.is_file():
        name = latest.read_text(encoding="utf-8", errors="replace").strip()
        return path / name if Path(name).name == name and name not in {"", ".", ".."} else path / "latest"
    models = sorted(model for model in path.iterdir() if (model / "latest").is_file())
    return find_partitioned(models[0]) if models else None


def newest_steps(path: Path) -> dict[str, str]:
    """Return, by model, the newest folder of rank files of all the models that lie in a folder.

    Folders `checkpoint-N` are no models but steps of one.
    """
    if not path.is_dir():
        return {}
    models = [model for model in sorted(path.iterdir()) if not model.name.startswith("checkpoint-")]
    files = {model.name: model / "latest" for model in models if (model / "latest").is_file()}
    return {name: file.read_text(encoding="utf-8", errors="replace").strip() for name, file in files.items()}


def read_partitioned(folder: Path) -> tuple[list[TensorEntry], list[Issue], dict[str, Any]]:
    """Return the weights of a folder of rank files, what is wrong with it, and what it says of its training.

    The facts are `global_step`, `zero_stage`, `ranks`, `loss_scale`, `overflow`, `learning_rate` and, in the order of
    ranks, `moments`: the files with Adam's.
    """
    if not folder.is_dir():
        return [], [critical("missing-file", f"{folder.name}: named by `latest`, but not there")], {}
    issues: list[Issue] = []
    models, optimizers = _files(folder, MODEL), _files(folder, OPTIMIZER)
    states = {file: state for file in (*models, *optimizers) if (state := _load(file, issues, fake=True)) is not None}
    facts = _facts([states[file] for file in models if file in states], [states.get(file) for file in optimizers])
    issues += _missing(folder, models, optimizers, facts)
    entries: dict[str, TensorEntry] = {}
    for file in models:
        state = states.get(file) or {}
        shared = set(state.get("shared_params") or ())
        for name, tensor in (state.get("module") or {}).items():
            if hasattr(tensor, "untyped_storage") and tensor.numel() and name not in shared:
                entries[str(name)] = _entry(str(name), tensor, tuple(tensor.shape), file)
    if not entries:  # stage 3
        shapes = next((states[file]["param_shapes"] for file in models if file in states), ())
        for entry in _pieces(shapes, [(file, states[file]) for file in optimizers if file in states]):
            entries[entry.name] = entry
    unknown = sorted({entry.dtype for entry in entries.values()} - set(DTYPES.values()))
    if unknown:
        issues.append(note("format-not-judged", f"tensors of {', '.join(unknown)} were not read"))
    if not entries and not issues:
        issues.append(critical("no-weights", f"{folder.name}: its files hold no weights"))
    return list(entries.values()), issues, {**facts, "moments": [file for file in optimizers if file in states]}


def read_moments(files: Sequence[Path]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the name of each rank's file and its optimizer's state by parameter group; files are mapped, not read."""
    for file in files:
        state = (_load(file, [], fake=False) or {}).get("optimizer_state_dict") or {}
        base = state.get("base_optimizer_state") or state.get("optimizer_state_dict") or {}
        yield file.name, (base.get("state") if isinstance(base, Mapping) else None) or {}


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda file: (_rank(file), file.name))


def _rank(file: Path) -> int:
    matched = _RANK.search(file.name)
    return int(matched[1]) if matched else 0


def _load(file: Path, issues: list[Issue], *, fake: bool) -> dict[str, Any] | None:
    """Return the content of a rank's file; with `fake`, tensors without their numbers, which know where they lie."""
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals
    except ImportError:
        issues.append(critical("no-weights", f"{file.name}: torch is not installed, so that it cannot be judged"))
        return None
    try:
        names = get_unsafe_globals_in_checkpoint(str(file))
        strange = [name for name in names if not name.startswith(LABELS)]
        if strange:
            detail = f"{file.name}: names {strange[0]}, which is no part of a checkpoint, and is not opened"
            issues.append(critical("unsafe-optimizer", detail))
            return None
        labels = [(type("Label", (Label,), {}), name) for name in names]
        with safe_globals(labels), FakeTensorMode() if fake else nullcontext():
            state = torch.load(file, map_location=None if fake else "cpu", weights_only=True, mmap=not fake)
    except Exception as error:  # noqa: BLE001 - whatever a broken archive makes torch raise, it is the finding
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = f"cannot be read: {reason:.90}" if file.stat().st_size else "empty"
        if "central directory" in reason:  # of a zip archive, at its end
            said = "cut off: the end of the archive is missing"
        issues.append(critical("truncated-file", f"{file.name}: {said}"))
        return None
    if not isinstance(state, dict):
        issues.append(critical("truncated-file", f"{file.name}: holds no state of a training"))
        return None
    return state


def _facts(models: list[dict[str, Any]], optimizers: list[dict[str, Any] | None]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for state in models:
        config = state.get("ds_config") or {}
        facts["zero_stage"] = (config.get("zero_optimization") or {}).get("stage")
        facts["global_step"] = state.get("global_step", state.get("global_steps"))
        facts["ranks"] = state.get("dp_world_size")
    for whole in optimizers:
        state = (whole or {}).get("optimizer_state_dict") or {}
        count = state.get("partition_count")
        facts["ranks"] = max(count) if isinstance(count, list) and count else count or facts.get("ranks")
        facts["overflow"] = bool(facts.get("overflow")) or bool(state.get("overflow"))
        scale = getattr(state.get("loss_scaler"), "cur_scale", None)
        base = state.get("base_optimizer_state") or state.get("optimizer_state_dict") or {}
        groups = base.get("param_groups") if isinstance(base, Mapping) else None
        matched = {"loss_scale": scale, "learning_rate": groups[0].get("lr") if groups else None}
        facts |= {name: value for name, value in matched.items() if isinstance(value, int | float)}
    return {name: value for name, value in facts.items() if value is not None}


def _missing(folder: Path, models: list[Path], optimizers: list[Path], facts: Mapping[str, Any]) -> Iterator[Issue]:
    """Yield the ranks of which files are missing."""
    if not models:
        yield critical("missing-file", f"{folder.name}: holds no file of a model's state")
    ranks = facts.get("ranks")
    if not isinstance(ranks, int) or (not optimizers and not facts.get("zero_stage")):
        return
    lost = sorted(set(range(ranks)) - {_rank(file) for file in optimizers})
    if lost:
        example = optimizers[0].name if optimizers else "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
        name = _RANK.sub(f"zero_pp_rank_{lost[0]}_", example)
        yield critical("missing-file", f"{name}: missing ({len(lost)} of {ranks} ranks)")


def _pieces(groups: Any, optimizers: list[tuple[Path, dict[str, Any]]]) -> Iterator[TensorEntry]:
    """Yield each rank's piece of each weight under stage 3: the flat fp32 groups hold them one after the other."""
    world = len(optimizers)
    for rank, (file, state) in enumerate(optimizers):
        flats = iter((state.get("optimizer_state_dict") or {}).get("fp32_flat_groups") or ())
        flat, offset = next(flats, None), 0
        for name, shape in (item for shapes in groups for item in shapes.items()):
            count = math.prod(shape)
            size = -(-count // world)
            if flat is not None and offset + size > flat.numel():
                flat, offset = next(flats, None), 0
            if flat is None or size > flat.numel():
                return  # the groups do not hold what the shapes promise; a file that is cut off is found as such
            kept = max(0, min(size, count - rank * size))  # the last piece is padded
            if kept:
                own = tuple(shape) if world == 1 else (kept,)
                yield _entry(name if world == 1 else f"{name} (rank {rank})", flat, own, file, offset)
            offset += size


def _entry(name: str, tensor: Any, shape: tuple[int, ...], file: Path, offset: int = 0) -> TensorEntry:
    """Return where (part of) a tensor lies in its file."""
    dtype = DTYPES.get(str(tensor.dtype), str(tensor.dtype))
    width = tensor.element_size()
    start = tensor.untyped_storage()._checkpoint_offset + (tensor.storage_offset() + offset) * width  # noqa: SLF001
    return TensorEntry(name, dtype, shape, file, int(start), math.prod(shape) * width)
