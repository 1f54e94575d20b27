"""Registries: named parts of the package, and those that other packages add by entry points."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tl_toolkit.errors import ToolkitError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Parts by name, each imported when it is first used.

    A package adds its own part with an entry point in its `pyproject.toml`, without a change here::

        [project.entry-points."tl_toolkit.metrics"]
        my_metric = "my_package.metrics:MyMetric"

    Args:
        kind: What a part is called in messages, such as "metric".
        group: The group of entry points, such as "tl_toolkit.metrics".
        own: The package's own parts, as "module:attribute" by name. No entry point replaces them.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._own = own

    def __iter__(self) -> Iterator[str]:
        """Yield the names: the package's own in their order, then the added ones sorted by name."""
        yield from self._own
        yield from sorted(self._added().names - self._own.keys())

    def get(self, name: str) -> Part:
        """Import a part.

        Raises:
            UnknownNameError: No part has this name.
            ToolkitError: The package that adds the part cannot be imported.
        """
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            return getattr(import_module(module), attribute)  # type: ignore[no-any-return]  # of any module
        added = self._added()
        if name not in added.names:
            raise UnknownNameError(self.kind, name, list(self))
        point = added[name]
        try:
            part: Any = point.load()
        except Exception as error:  # Another package's code may raise anything.
            raise ToolkitError(
                f"The {self.kind} {name} ({point.value}) cannot be imported: {error}. Update or uninstall the package "
                "that adds it."
            ) from error
        return part  # type: ignore[no-any-return]  # an entry point has no type

    def _added(self) -> "EntryPoints":
        from importlib.metadata import entry_points  # Slow to import, and most commands need no other package's part.

        return entry_points(group=self.group)
