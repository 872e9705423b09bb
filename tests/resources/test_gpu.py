"""GPUs as the real NVML client reports them; only the driver library behind it is a double."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert.resources.gpu import GPUs

pynvml = pytest.importorskip("pynvml")

SUCCESS, UNINITIALIZED, NOT_SUPPORTED, LOST = 0, 1, 3, 15
GIBIBYTE = 2**30


class Driver:
    """libnvidia-ml with two cards, as C functions: what a card answers can be replaced by an error code."""

    def __init__(self) -> None:
        self.count_code = SUCCESS
        self.utilization_code = {0: SUCCESS, 1: SUCCESS}
        self.shutdowns = 0
        pointer = ctypes.c_void_p
        self.functions: dict[str, Any] = {
            "nvmlInitWithFlags": self._function([ctypes.c_uint], lambda flags: SUCCESS),
            "nvmlShutdown": self._function([], self._shutdown),
            "nvmlErrorString": ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)(lambda code: b"driver error"),
            "nvmlDeviceGetCount_v2": self._function([pointer], self._count),
            "nvmlDeviceGetHandleByIndex_v2": self._function([ctypes.c_uint, pointer], self._handle),
            "nvmlDeviceGetUUID": self._function([pointer, pointer, ctypes.c_uint], self._uuid),
            "nvmlDeviceGetName": self._function([pointer, pointer, ctypes.c_uint], self._name),
            "nvmlDeviceGetMemoryInfo": self._function([pointer, pointer], self._memory),
            "nvmlDeviceGetUtilizationRates": self._function([pointer, pointer], self._utilization),
        }

    def __getattr__(self, name: str) -> Any:
        try:
            return self.functions[name]
        except KeyError:
            raise AttributeError(name) from None

    @staticmethod
    def _function(arguments: list[Any], body: Callable[..., int]) -> Any:
        return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(body)

    def _shutdown(self) -> int:
        self.shutdowns += 1
        return SUCCESS

    def _count(self, out: int) -> int:
        ctypes.cast(out, ctypes.POINTER(ctypes.c_uint))[0] = 2
        return self.count_code

    def _handle(self, index: int, out: int) -> int:
        ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = index + 1
        return SUCCESS

    def _uuid(self, handle: int, out: int, size: int) -> int:
        ctypes.memmove(out, f"GPU-{handle}".encode() + b"\0", 6)
        return SUCCESS

    def _name(self, handle: int, out: int, size: int) -> int:
        ctypes.memmove(out, b"Card\0", 5)
        return SUCCESS

    def _memory(self, handle: int, out: int) -> int:
        values = ctypes.cast(out, ctypes.POINTER(ctypes.c_ulonglong))
        values[0], values[1], values[2] = 80 * GIBIBYTE, 79 * GIBIBYTE, handle * GIBIBYTE
        return SUCCESS

    def _utilization(self, handle: int, out: int) -> int:
        ctypes.cast(out, ctypes.POINTER(ctypes.c_uint))[0] = 25 * handle
        return self.utilization_code[handle - 1]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    double = Driver()
    monkeypatch.setattr(pynvml, "nvmlLib", double)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return double


@pytest.fixture
def torch_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(*, initialized: bool, uuid: str | None = "2") -> None:
        cuda = SimpleNamespace(
            is_initialized=lambda: initialized,
            device_count=lambda: 1,
            get_device_properties=lambda index: SimpleNamespace(name="Card", uuid=uuid),
            memory_allocated=lambda index: 7 * GIBIBYTE,
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    return put


def test_every_device_is_read(driver: Driver) -> None:
    gpus = GPUs()
    usage = gpus.usage()
    gpus.close()
    gpus.close()

    assert usage["gpu_memory"] == 3 * GIBIBYTE
    assert usage["gpu_utilization"] == 0.375
    assert usage["gpu"][1] == {
        "device": 1,
        "uuid": "GPU-2",
        "name": "Card",
        "gpu_memory_used": 2 * GIBIBYTE,
        "gpu_memory_total": 80 * GIBIBYTE,
        "gpu_utilization": 0.5,
    }
    assert driver.shutdowns == 1


def test_a_card_that_cannot_answer_costs_that_answer_only(driver: Driver) -> None:
    driver.utilization_code[0] = NOT_SUPPORTED
    usage = GPUs().usage()

    assert usage["gpu_memory"] == 3 * GIBIBYTE
    assert usage["gpu_utilization"] == 0.5
    assert "gpu_utilization" not in usage["gpu"][0]
    assert usage["gpu"][0]["error"].startswith("NVML: ")


def test_a_driver_that_dies_and_comes_back_is_survived(driver: Driver) -> None:
    gpus = GPUs()
    driver.count_code = LOST
    lost = gpus.usage()
    driver.count_code = SUCCESS

    assert lost["gpu"].startswith("no GPU: NVML: ")
    assert len(gpus.usage()["gpu"]) == 2


def test_a_missing_driver_is_no_gpu_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)

    assert GPUs().usage() == {"gpu": "no GPU: NVML: NVML Shared Library Not Found"}


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert "pip install 'rlhf-assert[gpu]'" in GPUs().usage()["gpu"]


def test_what_torch_allocated_joins_its_card(driver: Driver, torch_with: Callable[..., None]) -> None:
    torch_with(initialized=True)

    first, second = GPUs().usage()["gpu"]

    assert "gpu_memory_allocated" not in first
    assert (second["gpu_memory_used"], second["gpu_memory_allocated"]) == (2 * GIBIBYTE, 7 * GIBIBYTE)


def test_torch_alone_is_enough(monkeypatch: pytest.MonkeyPatch, torch_with: Callable[..., None]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    torch_with(initialized=True, uuid=None)

    usage = GPUs().usage()

    assert usage["gpu_memory"] == 7 * GIBIBYTE
    assert usage["gpu_utilization"] is None


def test_a_process_that_does_not_use_cuda_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, torch_with: Callable[..., None]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    torch_with(initialized=False)

    assert "gpu_memory" not in GPUs().usage()


def test_torch_is_never_imported_for_this() -> None:
    import subprocess

    program = "import sys; from rlhf_assert.resources.gpu import GPUs; GPUs().usage(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
