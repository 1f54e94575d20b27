"""Registries: named parts of the package, and those that other packages add by entry points."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from tl_toolkit.errors import ToolkitError, UnknownNameError

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Parts by name, each imported when it is first used.

    A package adds its own part with an entry point in its `pyproject.toml`, without a change here::

        [project.entry-points."tl_toolkit.metrics"]
        my-metric = "my_package.metrics:MyMetric"

    Args:
        kind: What a part is called in messages, such as "metric".
        group: The group of entry points, such as "tl_toolkit.metrics".
        own: The package's own parts, as "module:attribute" by name. No entry point replaces them.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._own = {name: EntryPoint(name, value, group) for name, value in own.items()}

    def __iter__(self) -> Iterator[str]:
        """Yield the names: the package's own in their order, then the added ones sorted by name."""
        yield from self._own
        yield from sorted(set(entry_points(group=self.group).names) - self._own.keys())

    def get(self, name: str) -> Part:
        """Import a part.

        Raises:
            UnknownNameError: No part has this name.
            ToolkitError: The package that adds the part cannot be imported.
        """
        added = entry_points(group=self.group)
        if name not in self._own and name not in added.names:
            raise UnknownNameError(self.kind, name, list(self))
        point = self._own.get(name) or added[name]
        try:
            part: Any = point.load()
        except Exception as error:  # Another package's code may raise anything.
            if name in self._own:
                raise
            raise ToolkitError(
                f"The {self.kind} {name} ({point.value}) cannot be imported: {error}. Update or uninstall the package "
                "that adds it."
            ) from error
        return part  # type: ignore[no-any-return]  # an entry point has no type
