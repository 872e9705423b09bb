"""GPU memory and utilization, from NVML and from torch.cuda; that there is none is said, with the reason."""

from __future__ import annotations

import sys
from typing import Any


class GPUs:
    """The GPUs of this machine, read through NVML and, if this process uses CUDA, through torch.

    Neither is needed: NVML is used if `pynvml` (the package nvidia-ml-py) and the driver are there, torch only if the
    process has imported it and has initialised CUDA, since both would be side effects on the training.
    """

    def __init__(self) -> None:
        self._nvml, self._reason = _open_nvml()

    def usage(self) -> dict[str, Any]:
        """Return one sample.

        Either `{"gpu": "no GPU: <reason>"}`, or `gpu`, a list with an entry per device, beside the canonical totals
        `gpu_memory` (bytes over all devices, in use by anybody according to NVML, otherwise allocated by torch) and
        `gpu_utilization` (mean share over the devices). An entry holds `device`, `name`, `uuid`, and as far as they
        can be read `gpu_memory_used`, `gpu_memory_total` (bytes, NVML), `gpu_memory_allocated` (bytes, the tensors of
        this process, torch) and `gpu_utilization` (share, 0 to 1, NVML); what could not be read is named in `error`.
        """
        devices = self._read_nvml() if self._nvml is not None else []
        by_uuid = {device["uuid"]: device for device in devices}
        for device in _read_torch():
            by_uuid.setdefault(device["uuid"], device).update(gpu_memory_allocated=device["gpu_memory_allocated"])
        listed = list(by_uuid.values())
        if not listed:
            return {"gpu": f"no GPU: {self._reason or 'NVML lists no device'}"}
        memory = [device.get("gpu_memory_used", device.get("gpu_memory_allocated")) for device in listed]
        utilization = [device["gpu_utilization"] for device in listed if "gpu_utilization" in device]
        known = [value for value in memory if value is not None]
        return {
            "gpu": listed,
            "gpu_memory": sum(known) if known else None,
            "gpu_utilization": sum(utilization) / len(utilization) if utilization else None,
        }

    def close(self) -> None:
        """Release NVML."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                self._reason = f"NVML: {error}"

    def _read_nvml(self) -> list[dict[str, Any]]:
        nvml = self._nvml
        try:
            return [self._read_device(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            self._reason = f"NVML: {error}"
            return []

    def _read_device(self, index: int) -> dict[str, Any]:
        """Return one device; a question that it cannot answer (a driver reset, an old card) costs that answer only."""
        nvml = self._nvml
        device: dict[str, Any] = {"device": index, "uuid": f"nvml:{index}"}
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            device["uuid"] = _text(nvml.nvmlDeviceGetUUID(handle))
            device["name"] = _text(nvml.nvmlDeviceGetName(handle))
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            device.update(gpu_memory_used=int(memory.used), gpu_memory_total=int(memory.total))
            device["gpu_utilization"] = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0
        except nvml.NVMLError as error:
            device["error"] = f"NVML: {error}"
        return device


def _open_nvml() -> tuple[Any, str]:
    """Return the NVML client, or None with the reason."""
    try:
        import pynvml
    except ImportError:
        return None, "NVML cannot be asked without nvidia-ml-py: pip install 'rlhf-assert[gpu]'"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML: {error}"
    return pynvml, ""


def _read_torch() -> list[dict[str, Any]]:
    """Return what torch has allocated per device; nothing unless this process already uses CUDA."""
    torch: Any = sys.modules.get("torch")
    cuda: Any = getattr(torch, "cuda", None)  # None also while another thread is importing torch
    try:
        if cuda is None or not cuda.is_initialized():
            return []
        return [_read_torch_device(cuda, index) for index in range(cuda.device_count())]
    except (AttributeError, RuntimeError, AssertionError):
        return []


def _read_torch_device(cuda: Any, index: int) -> dict[str, Any]:
    properties = cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)
    return {
        "device": index,
        "name": properties.name,
        "uuid": f"GPU-{uuid}" if uuid else f"cuda:{index}",
        "gpu_memory_allocated": int(cuda.memory_allocated(index)),
    }


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
