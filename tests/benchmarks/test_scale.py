import re
from pathlib import Path

import pytest

from tests.benchmarks import scale
from tl_toolkit.data.seen_images import MAX_NOTED
from tl_toolkit.features.extractor import MEMORY_BYTES
from tl_toolkit.io.row_cache import MAX_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_page_has_the_tables_that_the_script_reckons():
    page = PAGE.read_text(encoding="utf-8")
    assumed = scale.Assumptions()
    for table in (scale.cost_table(assumed), scale.limit_table(assumed), scale.constant_table()):
        assert table in page


def test_page_names_the_prices_and_machines_that_are_assumed():
    page, assumed = " ".join(PAGE.read_text(encoding="utf-8").split()), scale.Assumptions()
    assert f"at {assumed.core_hour:g} for an hour of a core, {assumed.gpu_hour:.2f} for an hour of a GPU" in page
    assert f"and {assumed.terabyte_month:g} for a terabyte on disk for a month" in page
    machine = f"{assumed.cores} cores, {assumed.memory / 1e9:g} GB of memory and {assumed.disk / 1e12:g} TB of disk"
    assert f"For a machine with {machine}, and {scale.CLASSES} classes" in page


def test_bounds_are_those_of_the_package():
    assert (scale.LBFGS_BYTES, scale.CACHE_BYTES, scale.MAX_NOTED) == (MEMORY_BYTES, MAX_BYTES, MAX_NOTED)


def test_memory_of_an_image_is_what_the_page_says():
    for name, measured in scale.measure_memory(10_000).items():
        if scale.MEASURED[name].unit == "bytes":
            assert measured == pytest.approx(scale.MEASURED[name].value, rel=0.25), name


def test_ten_times_the_images_cost_ten_times_as_much():
    one, ten = (scale.cost(images, scale.Assumptions()) for images in (10**6, 10**7))
    for name in ("files", "index", "features", "probe_hours", "full_price", "gpu_price", "storage_price"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name))


def test_price_of_a_gpu_includes_the_cores_that_decode_for_it():
    assumed = scale.Assumptions(core_hour=1.0, gpu_hour=10.0, gpu_step=2 / scale.value("decode"), epochs=1)
    found = scale.cost(10**6, assumed)
    assert found.feeding_cores == pytest.approx(2)
    assert found.gpu_price == pytest.approx(12 * found.gpu_hours)


def test_limits_come_in_order_and_grow_with_the_machine():
    small, large = scale.Assumptions(), scale.Assumptions(memory=256e9, disk=8e12)
    found = scale.limits(small)
    assert [limit.images for limit in found] == sorted(limit.images for limit in found)
    grown = {limit.part: limit.images for limit in scale.limits(large)}
    for limit in found:
        bound = limit.part in ("one local disk", "index, names and identities in memory")
        assert grown[limit.part] == pytest.approx(limit.images * (4 if bound else 1))


@pytest.mark.parametrize(
    ("hours", "text"), [(0.001, "3.6 s"), (0.2, "12 min"), (30, "30 h"), (50, "2.1 days"), (30_000, "3.4 years")]
)
def test_duration_names_a_fitting_unit(hours: float, text: str):
    assert scale.duration(hours) == text


@pytest.mark.parametrize(("number", "text"), [(12, "12 B"), (2576, "2.6 kB"), (1.2e11, "120 GB"), (2.6e15, "2.6 PB")])
def test_size_names_a_fitting_unit(number: float, text: str):
    assert scale.size(number) == text


def test_command_of_the_page_prints_tables_with_other_prices(capsys: pytest.CaptureFixture[str]):
    [line] = re.findall(r"^python -m tests\.benchmarks\.scale (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    scale.main(line.split())
    printed = capsys.readouterr().out
    assert "| probe: 64 cores |" in printed
    assert "one GPU at 3,000 images/s" in printed


def test_tables_are_written_between_their_marks():
    page = "a\n<!-- costs -->\nold\n<!-- end of costs -->\nb\n"
    assert scale.with_tables(page, {"costs": "new"}) == "a\n<!-- costs -->\nnew\n<!-- end of costs -->\nb\n"
    with pytest.raises(SystemExit, match=re.escape("the page has no <!-- limits -->")):
        scale.with_tables(page, {"limits": "new"})
