"""Ends a process as `kill -9` would, before a chosen change that it makes to the files of a folder."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 137
"""The exit code of a process that SIGKILL has ended."""

_OF_PATHS = ("mkdir", "replace", "rename", "rmdir", "truncate", "unlink")


class Changes:
    """Counts the changes that this process makes to the files of a folder, and ends it before one of them.

    Of a write, the first half is done.  What a library writes by itself, without Python, is not seen.

    Args:
        folder: the changes elsewhere do not count.
        kill_at: the number of the change, from 1, before which the process ends; None only counts.
    """

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.folder = str(folder)
        self.kill_at = kill_at
        self.names: list[str] = []
        """What was changed how, in order."""

    def install(self) -> None:
        """Watch from now on, for the rest of the process."""
        opened = io.open
        builtins.open = io.open = self._watched_open(opened)  # type: ignore[assignment]
        os.fsync = self._watched(os.fsync, "fsync")
        for name in _OF_PATHS:
            setattr(os, name, self._watched(getattr(os, name), name))

    def about_to(self, what: str, target: str, half: Callable[[], object] = lambda: None) -> None:
        """Note a change, or do half of it and end.

        Args:
            what: is done.
            target: path of what it is done to.
            half: does half of it.
        """
        if not target.startswith(self.folder):
            return
        self.names.append(f"{what} {os.path.relpath(target, self.folder)}")
        if len(self.names) == self.kill_at:
            half()
            os._exit(KILLED)

    def _watched(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(target: Any, *arguments: Any, **options: Any) -> Any:
            self.about_to(name, _path_of(target, options.get("dir_fd")))
            return call(target, *arguments, **options)

        return watched

    def _watched_open(self, opened: Callable[..., Any]) -> Callable[..., Any]:
        def watched(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+"):
                return opened(file, mode, *arguments, **options)
            path = _path_of(file, None)
            self.about_to("open", path)
            return _WatchedFile(opened(file, mode, *arguments, **options), path, self)

        return watched


class _WatchedFile:
    """A file that is written to."""

    def __init__(self, file: Any, path: str, changes: Changes) -> None:
        self._file, self._path, self._changes = file, path, changes

    def write(self, content: Any) -> int:
        def half() -> None:
            self._file.write(content[: len(content) // 2])
            self._file.flush()

        self._changes.about_to("write", self._path, half)
        return self._file.write(content)

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _path_of(target: Any, folder: int | None) -> str:
    """The absolute path of what a call is given: a path, one relative to a descriptor, or a descriptor."""
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    if folder is not None:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fspath(target))
    return os.path.abspath(os.fspath(target))
