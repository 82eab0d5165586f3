"""Opens pages in a headless Chromium, if there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"no browser found: none of {', '.join(_NAMES)}")

_CONSOLE = re.compile(r":CONSOLE[:(]\d*\)?\] (.*)")
_ASKED = re.compile(r'"initiator":"(?!not an origin").*"url":"([^"]*)"')
"""Requests of pages; the browser's own have no origin."""


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page."""

    dom: str
    console: list[str]
    requests: set[str]
    """Addresses in the network that the page has asked for."""


def visit(page: Path) -> Visit:
    """Open a file; its folder takes what the browser keeps."""
    assert BROWSER is not None
    profile, log = page.with_name("profile"), page.with_name("netlog.json")
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-sync",
            "--no-first-run",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            f"--user-data-dir={profile}",
            f"--log-net-log={log}",
            "--dump-dom",
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    requests = {url for line in log.read_text(encoding="utf-8").splitlines() for url in _ASKED.findall(line)}
    return Visit(done.stdout, _CONSOLE.findall(done.stderr), requests)
