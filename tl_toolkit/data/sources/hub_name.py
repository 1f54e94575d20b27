"""Names of datasets of the Hugging Face Hub, checked before anything is imported."""

import re
from dataclasses import dataclass

from tl_toolkit.errors import UsageError
from tl_toolkit.text import format_value

HUB_PREFIX = "hf:"
FORM = "hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:CONFIG"
PATTERN = re.compile(r"(?P<repository>[\w-][\w.-]*(/[\w-][\w.-]*)?)(@(?P<revision>[^@:]+))?(:(?P<config>[^:]+))?")


@dataclass(frozen=True)
class HubName:
    """A dataset of the Hub.

    Attributes:
        repository: "ORG/NAME"; old ones have a name alone.
        revision: A branch, a tag or a commit; None for the main branch.
        config: A part of the dataset with columns of its own, also called a subset; None for the only one.
    """

    repository: str
    revision: str | None = None
    config: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB_PREFIX}{self.repository}{revision}{f':{self.config}' if self.config else ''}"

    @property
    def page(self) -> str:
        """The dataset's page."""
        return f"https://huggingface.co/datasets/{self.repository}"


def parse_hub_name(spec: str) -> HubName:
    """Parse "hf:ORG/NAME[@revision][:config]".

    Raises:
        UsageError: It has another form.
    """
    text = spec.removeprefix(HUB_PREFIX).removeprefix("//").removeprefix("datasets/")
    if not (found := PATTERN.fullmatch(text)):
        raise UsageError(f"{format_value(spec)} names no dataset of the Hugging Face Hub: write {FORM}.")
    return HubName(found["repository"], found["revision"], found["config"])
