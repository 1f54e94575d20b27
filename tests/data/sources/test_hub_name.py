import pytest

from tl_toolkit.data.sources.hub_name import HubName, parse_hub_name
from tl_toolkit.data.sources.names import check_name
from tl_toolkit.errors import UsageError


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("hf:org/name", HubName("org/name")),
        ("hf:mnist", HubName("mnist")),
        ("hf:org/na.me_1@v1.0", HubName("org/na.me_1", "v1.0")),
        ("hf:org/name:fine", HubName("org/name", None, "fine")),
        ("hf:org/name@refs/convert/parquet:fine", HubName("org/name", "refs/convert/parquet", "fine")),
        ("hf://datasets/org/name", HubName("org/name")),
    ],
)
def test_name_has_a_repository_a_revision_and_a_config(spec: str, name: HubName):
    assert parse_hub_name(spec) == name
    check_name(spec)
    assert parse_hub_name(str(name)) == name


@pytest.mark.parametrize("spec", ["hf:", "hf:a/b/c", "hf:org/name@", "hf:org/name:", "hf:a b", "hf:org/name:x:y"])
def test_other_form_is_refused_before_anything_is_imported(spec: str):
    with pytest.raises(UsageError) as error:
        check_name(spec)
    assert str(error.value) == (
        f"'{spec}' names no dataset of the Hugging Face Hub: write hf:ORG/NAME, hf:ORG/NAME@REVISION or "
        "hf:ORG/NAME:CONFIG."
    )
