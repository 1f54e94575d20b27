"""A run whose training steps and forward passes have precisions of their own."""

from pathlib import Path

import pytest
import torch

import tl_toolkit as tl


@pytest.mark.parametrize("tune", ["full", "last-stage"])  # From images, and from stored bf16 features.
def test_finetune_of_a_depthwise_network_trains_in_fp32_and_is_judged_in_bf16(
    tune: str, tiny_data: Path, tmp_path: Path, tiny_settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    seen: set[tuple[bool, bool]] = set()
    convolve = torch.nn.Conv2d._conv_forward

    def spy(*arguments: object) -> torch.Tensor:
        seen.add((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return convolve(*arguments)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", spy)
    settings = {**tiny_settings, "arch": "timm:mobilenetv3_small_100", "weights": "none", "tune": tune, "device": "cpu"}
    run = tl.finetune(data=tiny_data, out=tmp_path / "run", **settings)
    trains, is_judged = (True, False), (False, True)
    assert {trains, is_judged} <= seen
    assert (True, True) not in seen
    assert run.summary["precision"] == "bf16"
