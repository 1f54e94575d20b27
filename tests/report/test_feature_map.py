import importlib.util

import pytest
import torch

from tl_toolkit.errors import UsageError
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.report import feature_map
from tl_toolkit.report.feature_map import project, with_map


def clusters(images: int = 60, width: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, width, generator=generator)
    return 3 * centres[torch.arange(images) % 3] + torch.randn(images, width, generator=generator)


def exact(rows: torch.Tensor) -> torch.Tensor:
    centered = rows.double() - rows.double().mean(dim=0)
    return centered @ torch.linalg.svd(centered, full_matrices=False).Vh[:2].T


def test_project_equals_the_exact_principal_components_up_to_their_signs():
    rows = clusters()
    assert torch.allclose(project(rows).double().abs(), exact(rows).abs(), atol=1e-4)


def test_project_gives_the_same_bits_again_and_leaves_the_random_generator_alone():
    torch.manual_seed(3)
    state, rows = torch.get_rng_state(), clusters()
    first = project(rows)
    torch.rand(5)
    assert torch.equal(project(rows), first)
    torch.set_rng_state(state)
    project(rows)
    assert torch.equal(torch.get_rng_state(), state)


def test_signs_of_the_axes_do_not_depend_on_the_signs_of_the_decomposition(monkeypatch: pytest.MonkeyPatch):
    rows, real = clusters(), torch.svd_lowrank
    first = project(rows)

    def mirrored(*args: object, **options: object) -> object:
        u, s, v = real(*args, **options)
        return u, s, -v

    monkeypatch.setattr(torch, "svd_lowrank", mirrored)
    assert torch.allclose(project(rows), first, atol=1e-5)


def test_project_finds_axes_on_a_sample_of_many_images(monkeypatch: pytest.MonkeyPatch):
    rows = clusters(600)
    monkeypatch.setattr(feature_map, "SAMPLE", 100)
    of_sample = project(rows)
    assert of_sample.shape == (600, 2)
    apart = torch.corrcoef(torch.stack([of_sample[:, 0].double(), exact(rows)[:, 0]]))[0, 1].abs()
    assert apart > 0.95  # Of every sixth image, which would be of one cluster alone, it is 0.36.


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (7, 1), (3, 0), (0, 4)])
def test_project_of_hardly_any_images_or_features(shape: tuple[int, int]):
    points = project(torch.arange(shape[0] * shape[1], dtype=torch.float32).view(shape))
    assert points.shape == (shape[0], 2)
    assert bool(points.isfinite().all())


def test_project_of_equal_features_is_one_point():
    assert torch.equal(project(torch.ones(5, 8)), torch.zeros(5, 2))


def test_rows_that_are_not_finite_have_no_place():
    rows = clusters(30)
    rows[4, 2], rows[9, 0] = torch.nan, torch.inf
    points = project(rows)
    assert points.isnan().any(dim=1).nonzero()[:, 0].tolist() == [4, 9]


@pytest.mark.slow
def test_umap_keeps_clusters_apart_and_repeats_itself():
    pytest.importorskip("umap")
    rows = clusters()
    points = project(rows, "umap")
    assert torch.equal(points, project(rows, "umap"))
    centres = torch.stack([points[index::3].mean(dim=0) for index in range(3)])
    assert torch.cdist(points, centres).argmin(dim=1).tolist() == [index % 3 for index in range(60)]


def test_umap_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        project(clusters(), "umap")
    assert str(caught.value) == (
        "A map by UMAP needs umap-learn: pip install 'tl_toolkit[umap]'. PCA needs nothing more."
    )


def test_predictions_without_features_have_no_map():
    bare = Predictions(torch.zeros(2, 2), torch.tensor([0, 1]), ["0", "1"])
    assert with_map(bare) is bare
