import dataclasses

import pytest
import torch

from tl_toolkit.errors import UsageError
from tl_toolkit.models.backbones import build_backbone, default_input_spec, resolve_arch
from tl_toolkit.training.device import select_device


def test_choose_compute_auto_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    chosen = select_device("auto", "auto")
    assert (chosen.precision, chosen.reason) == ("bf16", "the CPU has avx512_bf16 instructions")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    chosen = select_device("auto", "auto")
    assert (chosen.precision, chosen.reason) == ("fp32", "the CPU has no bf16 instructions")
    with pytest.raises(UsageError, match='precision="bf16" was asked for, but cpu has no bf16 instructions'):
        select_device("cpu", "bf16")


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("resnet18", "bf16"),
        ("timm:regnety_004", "bf16"),  # Groups, but none of one channel.
        ("timm:convnext_atto", "bf16"),  # Depthwise, but without a stride.
        ("timm:vit_tiny_patch16_224", "bf16"),
        ("timm:tf_efficientnet_lite0", "fp32"),
        ("timm:mobilenetv3_small_100", "fp32"),
    ],
)
def test_choose_compute_trains_strided_depthwise_convolutions_in_fp32(
    name: str, training: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    arch = resolve_arch(name)
    with torch.device("meta"):
        module = build_backbone(arch, 10, default_input_spec(arch))
    chosen = select_device("cpu", "auto", module)
    assert (chosen.precision, chosen.training_precision) == ("bf16", training)
    assert chosen.memory_format == torch.channels_last
    assert chosen.accelerator().mixed_precision == ("bf16" if training == "bf16" else "no")
    assert ("depthwise convolutions with a stride train faster in fp32" in chosen.reason) == (training == "fp32")
    forced = select_device("cpu", "bf16", module)
    assert (forced.precision, forced.training_precision, forced.reason) == ("bf16", "bf16", "as asked")


def test_choose_compute_in_fp32_lays_depthwise_networks_out_by_channels():
    depthwise = torch.nn.Conv2d(4, 4, 3, stride=2, groups=4)
    assert select_device("cpu", "fp32", depthwise).memory_format == torch.channels_last
    assert select_device("cpu", "fp32", torch.nn.Conv2d(4, 4, 3)).memory_format == torch.contiguous_format


def test_cast_keeps_bf16_where_autocast_is_or_will_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    features = torch.zeros(1, dtype=torch.bfloat16)
    depthwise = select_device("cpu", "auto", torch.nn.Conv2d(4, 4, 3, stride=2, groups=4))
    assert depthwise.cast(features).dtype == torch.float32
    with depthwise.autocast():
        assert depthwise.cast(features).dtype == torch.bfloat16
    assert select_device("cpu", "auto").cast(features).dtype == torch.bfloat16


def test_choose_compute_of_a_gpu_names_which(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for name in ("auto", "cuda", "cuda:1"):
        assert select_device(name, "auto").device == torch.device("cuda", 1)
    assert select_device("cuda:0", "auto").precision == "bf16"


def test_choose_compute_of_a_missing_device_lists_those_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="There is no device 'cuda:3' here; there is cpu"):
        select_device("cuda:3", "auto")


def test_accelerator_after_another_precision_starts_afresh():
    if select_device("cpu", "auto").precision == "bf16":
        assert select_device("cpu", "bf16").accelerator().mixed_precision == "bf16"
    assert select_device("cpu", "fp32").accelerator().mixed_precision == "no"


def test_wait_lets_a_gpu_come_to_its_end(monkeypatch: pytest.MonkeyPatch):
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cuda:1", "mps", "cpu"):
        dataclasses.replace(select_device("cpu", "fp32"), device=torch.device(name)).wait()
    assert waited == [torch.device("cuda", 1), "mps"]
