import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import DataError, UnknownNameError, UsageError
from tl_toolkit.events import DecisionEvent, Event, TaskProgress
from tl_toolkit.models.backbones import Arch
from tl_toolkit.planning import ranking
from tl_toolkit.planning.ranking import RankedNetwork, choose_network, rank_networks

LITE0, RESNET18 = "timm:tf_efficientnet_lite0", "torchvision:resnet18"
SMALL: dict[str, Any] = {"weights": "none", "image_size": 32, "precision": "fp32", "workers": 0}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hard digits, without splits."""
    return copy_digits(tmp_path_factory.mktemp("digits") / "photos", ["3", "5", "8", "9"], 16)


@pytest.fixture(scope="module")
def ranked(digits: Path) -> tuple[list[RankedNetwork], list[Event]]:
    """What comes with the toolkit, on real images."""
    events: list[Event] = []
    return tl.rank(data=digits, callback=events.append), events


def counted(events: list[Event], task: str) -> set[int | None]:
    return {event.total for event in events if isinstance(event, TaskProgress) and event.task == task}


def test_rank_tries_what_is_on_this_machine_at_its_own_size_and_at_smaller_ones(
    ranked: tuple[list[RankedNetwork], list[Event]],
):
    networks, events = ranked
    assert {(each.arch, each.image_size, each.weights) for each in networks} == {
        (LITE0, 224, "package"), (LITE0, 160, "package"), (LITE0, 128, "package"), (RESNET18, 64, "bundled"),
    }  # fmt: skip
    assert [each.accuracy for each in networks] == sorted((each.accuracy for each in networks), reverse=True)
    assert counted(events, "rank tf_efficientnet_lite0 128 px") == {56}
    assert not any(isinstance(event, DecisionEvent) and event.what == "features" for event in events)
    for each in networks:
        assert 0.4 < each.accuracy <= 1
        assert each.standard_error == pytest.approx((each.accuracy * (1 - each.accuracy) / 56) ** 0.5)
        assert each.feature_seconds > 0
        assert each.seconds_per_image > 0
    costs = {(each.name, each.image_size): each.training_multiply_adds for each in networks}
    assert costs["tf_efficientnet_lite0", 160] / costs["tf_efficientnet_lite0", 224] == pytest.approx(0.51, abs=0.02)
    sizes = {each.name: each.parameter_bytes for each in networks}
    assert sizes["resnet18"] > 2 * sizes["tf_efficientnet_lite0"]


def test_rank_again_gives_the_same_from_the_cache(digits: Path, ranked: tuple[list[RankedNetwork], list[Event]]):
    def judged(networks: list[RankedNetwork]) -> list[tuple[Any, ...]]:
        return [(each.arch, each.image_size, each.accuracy, each.training_multiply_adds) for each in networks]

    events: list[Event] = []
    again = tl.rank(data=digits, callback=events.append)
    assert judged(again) == judged(ranked[0])
    assert choose_network(again).arch == choose_network(ranked[0]).arch
    assert all(each.feature_seconds == 0 for each in again)
    assert all(each.seconds_per_image > 0 for each in again)
    assert not any(
        counted([event], event.task) for event in events if isinstance(event, TaskProgress) and "px" in event.task
    )


def test_rank_with_a_time_budget_tries_a_larger_input_too(
    digits: Path, ranked: tuple[list[RankedNetwork], list[Event]]
):
    events: list[Event] = []
    networks = tl.rank(data=digits, time_budget="1h", callback=events.append)
    before = {(each.arch, each.image_size) for each in ranked[0]}
    assert {(each.arch, each.image_size) for each in networks} == before | {(LITE0, 288), (RESNET18, 96)}


def test_finetune_takes_the_network_of_the_ranking_and_computes_nothing_twice(
    digits: Path, ranked: tuple[list[RankedNetwork], list[Event]], tmp_path: Path
):
    events: list[Event] = []
    run = tl.finetune(data=digits, out=tmp_path / "run", callback=events.append, tune="linear-probe")
    best = choose_network(ranked[0])
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert (config["arch"], config["weights"], config["image_size"]) == (best.arch, best.weights, best.image_size)
    assert (run.summary["arch"], run.model.input_spec.height) == (best.arch, best.image_size)
    chosen = next(event for event in events if isinstance(event, DecisionEvent) and event.what == "arch")
    assert chosen.value == f"{best.arch}, {best.image_size} px"
    rule = "best" if best is ranked[0][0] else "as good as the best, and cheaper,"
    assert chosen.why == f"{rule} of {len(ranked[0])} in a probe: {100 * best.accuracy:.1f} %"
    tried = [event.value for event in events if isinstance(event, DecisionEvent) and event.what == "ranked"]
    assert tried == [str(each) for each in ranked[0]]
    features = [event.why for event in events if isinstance(event, DecisionEvent) and event.what == "features"]
    assert any("all from" in why for why in features)
    assert counted(events, "features") == {8}  # Val alone.


def network(name: str, accuracy: float, cost: float, error: float = 0.02) -> RankedNetwork:
    return RankedNetwork(name, 64, "bundled", "", accuracy, error, 1.0, 0.01, 1.0, cost, 1)


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ([("best", 0.9, 5e12)], "best"),
        ([("best", 0.9, 5e12), ("near", 0.885, 1e12)], "near"),
        ([("best", 0.9, 5e12), ("far", 0.87, 1e12)], "best"),
        ([("best", 0.9, 1.4e12), ("near", 0.89, 1e12)], "best"),
        ([("best", 0.9, 5e12), ("good", 0.895, 1.4e12), ("near", 0.89, 1e12)], "good"),
        ([("best", 0.9, 5e12), ("at the edge", 0.88, 1e12)], "at the edge"),
    ],
)
def test_choose_network_takes_the_cheapest_within_one_standard_error_unless_a_better_one_costs_hardly_more(
    networks: list[tuple[str, float, float]], expected: str
):
    assert choose_network([network(*each) for each in networks]).arch == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "near"), (0.9, "near"), (1.0, "best")])
def test_choose_network_with_time_to_spare_takes_the_best(seconds: float, expected: str):
    assert choose_network([network("best", 0.9, 5e12), network("near", 0.885, 1e12)], seconds).arch == expected


def test_choice_among_networks_of_one_accuracy_does_not_hang_on_the_clock():
    one, other = network("one", 1.0, 2e11, 0.0), network("other", 1.0, 3e11, 0.0)
    for seconds in (0.001, 1.0):
        networks = ranking._best_first([other, dataclasses.replace(one, seconds_per_image=seconds)])
        assert choose_network(networks).arch == "one"


@pytest.fixture
def rank_arrays() -> Callable[..., tuple[list[RankedNetwork], list[Event]]]:
    """Ranks a small network without weights on images of 8 pixels, whose shade tells the class."""

    def run(targets: list[int], **settings: Any) -> tuple[list[RankedNetwork], list[Event]]:
        generator = np.random.default_rng(len(targets))  # Else the images of another test are in the cache.
        classes = max(targets) + 1
        shade = np.array(targets)[:, None, None] * 200 / classes
        images = (shade + generator.uniform(0, 150 / classes, (len(targets), 8, 8))).astype(np.uint8)
        events: list[Event] = []
        archs = settings.pop("archs", ["timm:resnet10t"])
        settings = {"data": (images, targets), **SMALL, **settings}
        return tl.rank(archs=archs, callback=events.append, **settings), events

    return run


def test_rank_of_many_classes_samples_some_of_them_whole(rank_arrays: Any):
    _, events = rank_arrays(list(range(250)) * 2, val_images=2, draw="in-order")
    [total] = counted(events, "rank resnet10t 32 px")
    assert 398 <= total <= 400  # 200 classes, of which val may have had an image.


def test_rank_of_many_images_samples_a_thousand(rank_arrays: Any):
    _, events = rank_arrays([0, 1, 2] * 400)
    assert counted(events, "rank resnet10t 32 px") == {1000}


def test_rank_of_grayscale_images_in_one_channel(rank_arrays: Any):
    [one] = rank_arrays([0, 1] * 20, in_channels=1)[0]
    [three] = rank_arrays([0, 1] * 20)[0]
    assert one.accuracy > 0.9
    assert one.parameter_bytes < three.parameter_bytes


def test_rank_with_a_class_of_two_images_judges_by_all_but_the_single_ones(rank_arrays: Any):
    [network], _ = rank_arrays([0] * 12 + [1] * 12 + [2, 2] + [3])
    assert 0.8 < network.accuracy <= 1


def test_rank_of_a_single_image_of_each_class_explains_itself(rank_arrays: Any):
    with pytest.raises(DataError, match="a single image of each class in train: networks cannot be judged"):
        rank_arrays([0, 1, 2, 0, 1, 2], val_images=3)


def test_rank_with_one_logit_tells_two_classes_apart(rank_arrays: Any):
    [network], _ = rank_arrays([0, 1] * 20, classes=1)
    assert network.accuracy > 0.9


@pytest.mark.parametrize("head", ["append", "mlp"])
def test_rank_of_another_head_judges_by_a_linear_one(head: str, rank_arrays: Any):
    [network], _ = rank_arrays([0, 1, 2] * 15, head=head)
    assert network.accuracy > 0.9


def test_rank_of_named_networks_tries_these_alone(rank_arrays: Any):
    networks, _ = rank_arrays([0, 1] * 20, archs=["timm:resnet10t", "resnet18"])
    assert {each.arch for each in networks} == {"timm:resnet10t", RESNET18}
    assert {each.weights for each in networks} == {"none"}


def test_rank_of_more_training_costs_more(rank_arrays: Any):
    costs = {}
    for tune in ("linear-probe", "auto", "full", "last-stage"):
        [network], _ = rank_arrays([0, 1] * 20, tune=tune, epochs=3)
        costs[tune] = network.training_multiply_adds
    assert costs["linear-probe"] == costs["auto"] < costs["last-stage"] == costs["full"]


def test_rank_of_an_unknown_network_suggests_the_nearest(rank_arrays: Any):
    with pytest.raises(UnknownNameError, match="No architecture is named 'resnt18'. Did you mean resnet18"):
        rank_arrays([0, 1] * 4, archs=["resnt18"])


def test_rank_without_weights_on_this_machine_says_what_to_do(digits: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranking, "weight_sources", lambda _: [])
    for run in (tl.rank, tl.finetune):
        with pytest.raises(UsageError, match='but with weights="auto" the weights of none are on this machine. Name a'):
            run(data=digits)


def test_rank_by_weights_of_one_kind_takes_the_networks_that_have_them(digits: Path):
    networks = tl.rank(data=digits, weights="bundled")
    assert [(each.arch, each.weights) for each in networks] == [(RESNET18, "bundled")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "mine.pth"}, 'mine.pth" belongs to one network, but arch is auto: name the network'),
        ({"weights": "none"}, 'weights="none" belongs to one network'),
        ({"arch_options": ("drop_rate=0.1",)}, "arch_options belong to one network, but arch is auto"),
    ],
)
def test_finetune_of_any_network_with_what_belongs_to_one_is_refused(
    settings: dict[str, Any], message: str, digits: Path, tmp_path: Path
):
    with pytest.raises(UsageError, match=message):
        tl.finetune(data=digits, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_rank_networks_out_of_time_leaves_out_smaller_inputs(digits: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranking, "CANDIDATES", (Arch("timm", "tf_efficientnet_lite0"),))
    config = FinetuneConfig(data=str(digits))
    source = open_source(str(digits))
    splits = prepare_splits(source, config, 224, lambda _: None)
    networks = rank_networks(config, source, splits, lambda _: None, out_of_time=lambda: True)
    assert [each.image_size for each in networks] == [224]


def test_rank_leaves_the_images_that_val_has_out_of_the_sample(rank_arrays: Any):
    _, events = rank_arrays([0, 1] * 23, val_images=16)
    assert counted(events, "rank resnet10t 32 px") == {30}


def test_rank_is_the_same_for_any_state_of_the_random_generator(rank_arrays: Any):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(rank_arrays([0, 1, 2, 3] * 10)[0][0].accuracy)
    assert found[0] == found[1]


@pytest.mark.parametrize("settings", [{"arch": "resnet18"}, {"arch_options": ("drop_rate=0.1",)}])
def test_rank_of_a_network_named_as_arch_says_archs(settings: dict[str, Any], photos: Path):
    with pytest.raises(UsageError, match="belong to one network, but rank compares several: name them as archs"):
        tl.rank(data=photos, **settings)
