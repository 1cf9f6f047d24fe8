"""A page in headless Chromium, with all that goes wrong in it recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser; `STIMOPT_CHROMIUM` names another one."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (extra: test)"
    )
    names = (os.environ.get("STIMOPT_CHROMIUM", ""), "chromium", "chromium-browser")
    program = next(filter(None, map(shutil.which, (*names, "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed (set STIMOPT_CHROMIUM)")
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


class Visit:
    """One window on the page of a folder.

    Attributes:
        view: playwright's page.
        problems: messages in the console, errors of scripts and requests that failed.
        requests: addresses asked for.
    """

    def __init__(
        self, chromium: Any, folder: Path, width: int = 1300, hash: str = "", policy: bool = False
    ) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.requests: list[str] = []
        size = {"width": width, "height": 900}
        # Playwright waits by `eval`, which the page's own policy forbids.
        self.view = chromium.new_page(viewport=size, bypass_csp=not policy)
        self.view.set_default_timeout(20_000)
        self.view.on("console", lambda message: self.problems.append(message.text))
        self.view.on("pageerror", lambda error: self.problems.append(str(error)))
        self.view.on("requestfailed", lambda request: self.problems.append(request.url))
        self.view.on("request", lambda request: self.requests.append(request.url))
        self.view.goto((folder / "index.html").as_uri() + hash)
        self.view.wait_for_selector("#rows tr", state="attached")

    def open(self, label: str) -> None:
        """Open a cell by its name in the table, and stop it at its peak."""
        self.view.get_by_role("link", name=label, exact=True).click()
        self.view.wait_for_selector("#panels figure")
        self.view.keyboard.press("End")

    def names(self) -> list[str]:
        """Names of the rows, in their order."""
        texts: list[str] = self.view.locator("#rows th a").all_text_contents()
        return texts

    def pixel(self, canvas: Any, x: float, y: float) -> list[int]:
        """Red, green and blue at a place of a canvas, in fractions of its size."""
        code = """(canvas, [x, y]) => {
            const copy = document.createElement("canvas").getContext("2d");
            copy.drawImage(canvas, -Math.round(x * canvas.width), -Math.round(y * canvas.height));
            return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }"""
        color: list[int] = canvas.evaluate(code, [x, y])
        return color

    def changes(self, selector: str, name: str, times: int = 4) -> None:
        """Wait until a property, or what a method returns, has had several values."""
        code = """([selector, name, times]) => {
            const element = document.querySelector(selector), value = element[name];
            const seen = (element.seen ??= new Set());
            seen.add(typeof value === "function" ? element[name]() : value);
            return seen.size >= times;
        }"""
        self.view.wait_for_function(code, arg=[selector, name, times])

    def leave(self) -> None:
        """Close the window; nothing went wrong, and no request left the folder."""
        self.view.close()
        assert self.problems == []
        inside = self.folder.as_uri() + "/"
        assert [url for url in self.requests if not url.startswith(inside)] == []
