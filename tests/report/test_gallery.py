"""The gallery as a browser meets it: whole, self-contained, and safe with any name."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stimopt.report.gallery import page, write_gallery
from tests.report.cases import HOSTILE, TUNING, optima_of


class Parsed(HTMLParser):
    """Tags, links and text of a page; fails where tags do not close in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optima") / "gallery"
    written = write_gallery(optima_of(["T4c", "CT1(Lo1)", HOSTILE], **TUNING), folder)
    assert written[0] == folder / "index.html" and len(written) == 4
    return folder


def test_everything_a_page_shows_lies_in_its_folder(gallery: Path) -> None:
    text = (gallery / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    parsed = Parsed(text)
    assert parsed.tags.count("tr") == 4 and parsed.tags.count("img") == 9
    assert set(parsed.tags).isdisjoint({"link", "iframe", "object", "embed"})
    for link in parsed.links:
        target = (gallery / link).resolve()
        assert target.is_relative_to(gallery.resolve())
        with Image.open(target) as picture:
            picture.verify()
    shown = {(gallery / link).resolve() for link in parsed.links}
    pictures = {path.resolve() for path in gallery.rglob("*") if path.suffix == ".png"}
    assert shown == pictures and not list(gallery.rglob(".*"))


def test_names_cannot_break_out_of_the_page(gallery: Path) -> None:
    parsed = Parsed((gallery / "index.html").read_text(encoding="utf-8"))
    assert "b" in parsed.tags  # of the numbers, so look at attributes too
    assert "onclick" not in parsed.attributes
    for name in ("CT1(Lo1)", HOSTILE, "<net>"):
        assert name in parsed.text


def test_it_shows_the_numbers_of_the_results(gallery: Path) -> None:
    parsed = Parsed((gallery / "index.html").read_text(encoding="utf-8"))
    for value in ("1.00", "0.980", "2.00", "98 %", "200 %", "90°", "0°", "ON", "OFF", "0.73"):
        assert value in parsed.text
    assert "360°" not in parsed.text
    # Only the second item missed it.
    assert parsed.text.count("tolerance missed") == 1


def test_without_tuning_it_shows_no_direction() -> None:
    text = page(optima_of(["T4c"]), ["T4c"])
    assert "ON</span>" not in text and 'class="arrow"' not in text
    Parsed(text)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_it(gallery: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1200,700",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}",
            (gallery / "index.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
    paper = np.array([0xD5, 0xE3, 0xF2])  # around the hexagons of the thumbnails
    assert (np.abs(pixels.astype(int) - paper).max(axis=1) <= 2).mean() > 0.005
