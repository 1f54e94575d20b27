import pytest

from tl_toolkit.errors import UsageError
from tl_toolkit.io.hub_name import check_branch, check_repository


@pytest.mark.parametrize("name", ["me/ants", "My-Lab/ants_and.bees-2", "a/b"])
def test_check_repository_takes_names_of_the_hub(name: str):
    check_repository(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ants",
            "'ants' lacks the organization or user that the repository is for: write ORG/ants, with your own name",
        ),
        ("hf-hub:me/ants", "'hf-hub:me/ants' is no name of a repository: leave out what is before me/ants."),
        ("https://huggingface.co/me/ants", "leave out what is before me/ants."),
        ("me/ants/bees", "'me/ants/bees' is no name of a repository: write ORG/NAME, in letters without accents"),
        ("me/a--b", "is no name of a repository"),
        ("me/ants.", "is no name of a repository"),
        ("me/ants.git", "is no name of a repository"),
        ("me/ümlaut", "is no name of a repository"),
        ("me/" + "a" * 94, "at most 96 in all"),
        ("../x", "is no name of a repository"),
        ("me/", "is no name of a repository"),
        ("", "is no name of a repository"),
    ],
)
def test_check_repository_refuses_other_names(name: str, message: str):
    with pytest.raises(UsageError) as caught:
        check_repository(name)
    assert message in str(caught.value)


def test_check_branch_refuses_what_git_has_not():
    check_branch(None)
    check_branch("v2/new-images")
    with pytest.raises(UsageError, match='revision="two words" is no name of a branch'):
        check_branch("two words")
