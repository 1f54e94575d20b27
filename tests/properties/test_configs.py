import dataclasses
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tl_toolkit.config.choices import save_formats
from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.fields import choices_of, flag_name, is_optional, without_none
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import write_text

FIELDS = {field.name: field for field in dataclasses.fields(FinetuneConfig)}
OPTION = st.from_regex(r"[a-z_]{1,9}=[A-Za-z0-9.]{1,9}", fullmatch=True)
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "probe_learning_rate": st.sampled_from(["auto", "0.01", "1e-3"]),
    "cache_size": st.sampled_from(["0", "500MB", "1.5 GiB", "20GiB"]),
    "checkpoint_every": st.from_regex(r"[1-9][0-9]{0,5}[smh]?", fullmatch=True),
    "time_budget": st.from_regex(r"[1-9][0-9]{0,5}(\.[0-9])?[smh]", fullmatch=True),
    "arch_options": st.lists(OPTION, max_size=3).map(tuple),
    "save": st.lists(st.sampled_from([*save_formats()]), max_size=3).map(tuple),
    "label_column": st.lists(st.text(min_size=1, max_size=9).filter(str.strip), max_size=3).map(tuple),
    "accumulate": st.sampled_from([1, 2, 4]),
    "batch_size": st.integers(1, 10**6).map(lambda quarter: 4 * quarter),
    "in_channels": st.sampled_from([1, 3]),
    "classes": st.integers(1, 10**6),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def valid(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting may have, by its own limits."""
    field = FIELDS[name]
    kind, limits = without_none(field.type), field.metadata["setting"]
    values: st.SearchStrategy[Any]
    if name in SPECIAL:
        values = SPECIAL[name]
    elif choices := choices_of(kind):
        values = st.sampled_from(choices)
    elif kind is bool:
        values = st.booleans()
    elif kind is str:
        values = st.text(max_size=30).filter(lambda text: text.strip(" \t\n"))
    elif kind is int:
        values = st.integers(int(limits.ge or 0), int(limits.le or 2**63 - 1))
    else:
        least, most = (bound if bound is not None else other for bound, other in (
            (limits.ge if limits.gt is None else limits.gt, -1e300),
            (limits.le if limits.lt is None else limits.lt, 1e300),
        ))  # fmt: skip
        values = st.floats(least, most, exclude_min=limits.gt is not None, exclude_max=limits.lt is not None)
    return st.none() | values if is_optional(field.type) else values


def agree(values: dict[str, Any]) -> bool:
    """Whether settings that are right each for itself are so together."""
    one_logit = values.get("classes") == 1 and values.get("loss") == "cross-entropy"
    rows = values.get("task") in ("multi-label", "soft") and {"classes", "loss", "sampler", "class_weights"} & {*values}
    return not one_logit and not rows and not values.get("class_weights") == values.get("sampler") == "balanced"


SETTINGS = st.fixed_dictionaries({}, optional={name: valid(name) for name in FIELDS}).filter(agree)


@given(values=SETTINGS)
def test_config_written_and_read_is_the_same(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory):
    config = FinetuneConfig.from_values(values)
    path = tmp_path_factory.getbasetemp() / "property.yaml"
    write_text(path, config.to_yaml())
    assert FinetuneConfig.from_values(read_config_file(path)) == dataclasses.replace(config, out=None)


@given(values=SETTINGS)
def test_config_by_flag_names_is_that_by_field_names(values: dict[str, Any]):
    short = {flag_name(FIELDS[name]): value for name, value in values.items()}
    assert FinetuneConfig.from_values(short) == FinetuneConfig.from_values(values)


@given(first=SETTINGS, second=SETTINGS)
def test_config_of_two_sources_has_the_later_value(first: dict[str, Any], second: dict[str, Any]):
    both = {**first, **second}
    assume(agree(both))
    chosen = FinetuneConfig.from_values(first, second)
    assert chosen == FinetuneConfig(**both)


@given(name=st.sampled_from(sorted(FIELDS)) | st.text(max_size=12), value=ANYTHING)
def test_config_with_any_value_is_made_or_refused_with_a_message(name: str, value: Any):
    try:
        config = FinetuneConfig.from_values({name: value})
    except UsageError as error:
        assert str(error).strip()
    else:
        taken = getattr(config, name if name in FIELDS else next(f for f in FIELDS if flag_name(FIELDS[f]) == name))
        assert not isinstance(taken, float) or math.isfinite(taken)
