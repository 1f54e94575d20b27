import math

import pytest
import torch

from tl_toolkit.io.packed_tensors import PackedTensor


@pytest.mark.parametrize("shape", [(3, 4), (5,), (0, 4), ()])
def test_packed_tensor_unpacked_is_the_same_to_eleven_bits(shape: tuple[int, ...]):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed = PackedTensor.of(tensor)
    assert packed.shape == shape
    assert torch.equal(packed.unpack(), tensor.half().float())


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (PackedTensor((2,), "?"), "a tensor is not base64"),
        (PackedTensor((3,), PackedTensor.of(torch.ones(2)).values), r"a tensor of shape \(3,\) has 4 bytes"),
        (PackedTensor((-1, -2), PackedTensor.of(torch.ones(2)).values), r"a tensor of shape \(-1, -2\) has 4 bytes"),
        (PackedTensor.of(torch.tensor([math.nan])), "a tensor holds values that are not finite"),
    ],
)
def test_unpack_of_a_damaged_tensor_raises(packed: PackedTensor, message: str):
    with pytest.raises(ValueError, match=message):
        packed.unpack()
