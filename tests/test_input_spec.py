import json

import pytest

from tl_toolkit.errors import ModelFileError
from tl_toolkit.input_spec import InputSpec


def test_from_dict_after_json_gives_the_same_spec():
    spec = InputSpec(height=64, width=48, interpolation="bicubic", crop="squash", crop_fraction=0.9)
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_with_channels_one_averages_mean_and_std():
    spec = InputSpec(mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3)).with_channels(1)
    assert spec.channels == 1
    assert spec.mean == pytest.approx((0.4,))
    assert spec.std == pytest.approx((0.2,))


def test_resize_to_follows_the_crop_fraction():
    assert InputSpec().resize_to == (256, 256)
    assert InputSpec().with_size(64).resize_to == (73, 73)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 0},
        {"height": "64"},
        {"std": [0.1, 0.0, 0.1]},
        {"mean": [0.5]},
        {"mean": [float("nan"), 0.5, 0.5]},
        {"crop": "circle"},
        {"interpolation": "guess"},
        {"crop_fraction": 0},
        {"unknown": 1},
    ],
)
def test_from_dict_of_nonsense_raises(change: dict[str, object]):
    with pytest.raises(ModelFileError):
        InputSpec.from_dict({**InputSpec().to_dict(), **change})
