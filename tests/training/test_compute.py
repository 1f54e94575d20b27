import pytest
import torch

from tl_toolkit.errors import UsageError
from tl_toolkit.training.compute import choose_compute


def test_choose_compute_auto_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    chosen = choose_compute("auto", "auto")
    assert (chosen.precision, chosen.reason) == ("bf16", "the CPU has avx512_bf16 instructions")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    chosen = choose_compute("auto", "auto")
    assert (chosen.precision, chosen.reason) == ("fp32", "the CPU has no bf16 instructions")
    with pytest.raises(UsageError, match="--precision bf16 was asked for, but cpu has no bf16 instructions"):
        choose_compute("cpu", "bf16")


def test_choose_compute_of_a_gpu_names_which(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for name in ("auto", "cuda", "cuda:1"):
        assert choose_compute(name, "auto").device == torch.device("cuda", 1)
    assert choose_compute("cuda:0", "auto").precision == "bf16"


def test_choose_compute_of_a_missing_device_lists_those_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="There is no device 'cuda:3' here; there is cpu"):
        choose_compute("cuda:3", "auto")


def test_accelerator_after_another_precision_starts_afresh():
    if choose_compute("cpu", "auto").precision == "bf16":
        assert choose_compute("cpu", "bf16").accelerator().mixed_precision == "bf16"
    assert choose_compute("cpu", "fp32").accelerator().mixed_precision == "no"
