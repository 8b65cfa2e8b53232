"""botocore's descriptions of the services, read in a fraction of the time.

botocore parses megabytes of JSON into OrderedDicts, and looks into the folders of all 400 services,
once for each kind of file. For a handful of clients that is most of what `aws status` would take.
"""

from __future__ import annotations

import gzip
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec


def make_loader(data_path: str | None) -> Any:
    """botocore's `data_loader` for a session; `data_path` is its setting of that name."""
    from botocore.loaders import Loader, create_loader

    class FastLoader(Loader):  # type: ignore[misc]  # botocore has no types
        """Loads the same files; whoever has models of their own in ~/.aws/models gets those."""

        @cached_property
        def _folders(self) -> list[str]:
            paths = [Path(path) for path in self.search_paths]
            return sorted({f.name for path in paths if path.is_dir() for f in path.iterdir()})

        def list_available_services(self, type_name: str) -> list[str]:
            """By their folders; that one has no such file is found when it is loaded."""
            del type_name
            return self._folders

    paths = create_loader(data_path).search_paths
    return FastLoader(paths, _Files(), include_default_search_paths=False)


class _Files:
    """What a loader of botocore's asks for files, named without their endings."""

    def exists(self, name: str) -> bool:
        return any(path.is_file() for path in _candidates(name))

    def load_file(self, name: str) -> Any:
        """What is in a file; None if there is none."""
        for path in _candidates(name):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            return msgspec.json.decode(gzip.decompress(data) if path.suffix == ".gz" else data)
        return None


def _candidates(name: str) -> tuple[Path, Path]:
    return Path(f"{name}.json"), Path(f"{name}.json.gz")
