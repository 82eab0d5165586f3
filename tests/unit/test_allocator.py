"""What a process says to its allocators is heard by them."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from orpo import allocator, cli

VARIABLE = "THP_MEM_ALLOC_ENABLE"


def printed(program: str, **environment: str) -> str:
    """What a process of its own prints."""
    given = {name: value for name, value in os.environ.items() if name != VARIABLE} | environment
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=given
    ).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
@pytest.mark.parametrize("keeps", [True, False])
def test_kept_memory_is_not_asked_for_again(keeps: bool) -> None:
    """Seen in the pages that the system has to clear, once the same blocks have come and gone some times."""
    program = f"""
import resource, torch
from orpo.allocator import keep_freed_memory
if {keeps}:
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**power) for power in (22, 23, 24)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(16)][-1])
"""
    cleared, pages = int(printed(program)), 7 * 2**24 // mmap.PAGESIZE
    assert cleared < 0.05 * pages if keeps else cleared > 0.5 * pages


ALIGNED = """
from pathlib import Path
from orpo.allocator import use_huge_pages
use_huge_pages(Path("."))
import torch
print(all(torch.empty(2**21 + n, dtype=torch.uint8).data_ptr() % 4096 == 0 for n in range(0, 4000, 64)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torch has the switch on Linux only")
@pytest.mark.parametrize(("chosen", "expected"), [({}, "True"), ({VARIABLE: "0"}, "False")], ids=str)
def test_large_tensors_begin_on_a_page_unless_the_user_says_otherwise(
    chosen: dict[str, str], expected: str
) -> None:
    assert printed(ALIGNED, **chosen).strip() == expected


def test_where_there_are_no_huge_pages_nothing_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    allocator.use_huge_pages(tmp_path / "none")
    assert VARIABLE not in os.environ


def test_the_command_line_asks_before_any_verb_can_allocate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "use_huge_pages", lambda: asked.append("pages"))
    monkeypatch.setattr(cli, "get_command", lambda _: lambda prog_name: asked.append("verb"))
    monkeypatch.setattr(cli, "leave", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    cli.main()
    assert asked == ["pages", "verb"]
    program = "import sys, orpo.cli; print('torch' in sys.modules)"
    assert printed(program).strip() == "False"
