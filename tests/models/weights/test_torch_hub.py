from tl_toolkit.models.weights.torch_hub import hash_in_name


def test_hash_in_name_is_torch_hubs():
    assert hash_in_name("resnet18-f37072fd.pth") == "f37072fd"
    assert hash_in_name("resnet18.pth") is None
