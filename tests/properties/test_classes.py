import json
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import DataError, ModelFileError
from tl_toolkit.inference.scoring import remap_targets
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.metrics.logits import predicted_classes, probabilities, ranked_classes
from tl_toolkit.model_file import FINGERPRINT_BYTES, ModelMetadata, SplitFingerprints

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=12, unique=True)


@given(names=NAMES, order=st.randoms(use_true_random=False), data=st.data())
def test_targets_matched_by_name_mean_the_same_classes(names: list[str], order: object, data: st.DataObject):
    models = list(names)
    order.shuffle(models)  # type: ignore[attr-defined]  # a random.Random
    targets = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=20))
    samples = Samples(FileImages([str(index) for index in range(len(targets))]), targets)
    matched = remap_targets(samples, names, models)
    assert [models[target] for target in matched.targets] == [names[target] for target in targets]
    assert remap_targets(matched, models, names).targets == targets  # and back


@given(names=NAMES, data=st.data())
def test_class_that_the_model_does_not_know_is_refused_where_it_has_images(names: list[str], data: st.DataObject):
    left_out = data.draw(st.integers(0, len(names) - 1))
    models = [name for index, name in enumerate(names) if index != left_out]
    others = [index for index in range(len(names)) if index != left_out]
    kept = remap_targets(Samples(FileImages(["a"] * len(others)), others), names, models)
    assert [models[target] for target in kept.targets] == models
    with pytest.raises(DataError, match="does not know 1 of the data's"):
        remap_targets(Samples(FileImages(["a", "b"]), [others[0], left_out]), names, models)


SPECS = st.integers(1, 4).flatmap(
    lambda channels: st.builds(
        InputSpec,
        channels=st.just(channels),
        height=st.integers(1, 2**14),
        width=st.integers(1, 2**14),
        mean=st.tuples(*[st.floats(-300, 300)] * channels),
        std=st.tuples(*[st.floats(1e-9, 300)] * channels),
        interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
        crop=st.sampled_from(["center", "squash", "border"]),
        crop_fraction=st.floats(0.05, 2),
    )
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(string.ascii_letters, max_size=8), PLAIN, max_size=3)
PRINTS = st.lists(st.binary(min_size=FINGERPRINT_BYTES, max_size=FINGERPRINT_BYTES), max_size=5)
CARDS = st.builds(
    ModelMetadata,
    architecture=st.text(max_size=20),
    head=st.sampled_from(["swap", "append", "mlp"]),
    base_classes=st.integers(1, 2**20),
    class_names=NAMES.map(tuple),
    input_spec=SPECS,
    arch_options=OBJECTS,
    loss=st.sampled_from(["cross-entropy", "bce"]),
    weights=st.text(max_size=8),
    weights_license=st.text(max_size=8),
    metrics=OBJECTS,
    training=OBJECTS,
    versions=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    split_note=st.none()
    | st.builds(lambda train, val: SplitFingerprints.of({"train": train, "val": val}, ("train",)), PRINTS, PRINTS),
)


@given(metadata=CARDS)
def test_card_written_and_read_is_the_same(metadata: ModelMetadata):
    assert ModelMetadata.from_metadata(metadata.to_metadata()) == metadata


@given(metadata=CARDS, data=st.data())
def test_card_with_any_field_changed_is_refused_or_says_the_change(metadata: ModelMetadata, data: st.DataObject):
    metadata = metadata.to_metadata()
    name = data.draw(st.sampled_from(sorted(metadata)))
    changed = {**metadata, name: data.draw(st.text(max_size=6) | PLAIN.map(json.dumps))}
    try:
        read = ModelMetadata.from_metadata(changed)
    except ModelFileError as error:
        assert str(error).strip()
    else:
        assert read == metadata or {name for name in metadata if read.to_metadata()[name] != metadata[name]} <= {name}


@given(rows=st.integers(1, 5), columns=st.integers(1, 9), top=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_ranked_classes_begin_with_the_predicted_and_are_ordered_by_probability(
    rows: int, columns: int, top: int, seed: int
):
    logits = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    ranked = ranked_classes(logits, top)
    assert torch.equal(ranked[:, 0], predicted_classes(logits))
    for loss in ("cross-entropy", "bce"):
        shares = probabilities(logits, loss).gather(1, ranked)
        assert bool((shares[:, :-1] >= shares[:, 1:]).all())
        assert bool(((shares >= 0) & (shares <= 1)).all())
