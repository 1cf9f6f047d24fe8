"""The gallery as a browser would meet it: whole, self-contained, and safe with any name."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stimopt.lattice import HexLattice
from stimopt.plotting import figure_image
from stimopt.protocol import Protocol
from stimopt.report.gallery import page, safe_names, thumbnail, walk_table, write_gallery
from stimopt.results.result import Result, Variable
from stimopt.results.three_optima import OptimalStimulus, ThreeOptima

LATTICE = HexLattice(2)
HOSTILE = '../<b onclick="x()">&[red]'


def result(kind: str, names: list[str], peaks: list[float], frames: int = 25) -> Result:
    """A result whose central responses peak at the last frame with the values given."""
    n, columns = len(names), LATTICE.n_columns
    random = np.random.default_rng(len(kind))
    stimulus = random.random((n, frames, columns)).astype(np.float32)
    response = np.zeros_like(stimulus)
    response[:, -1] = np.array(peaks, np.float32)[:, None]
    central = response[:, :, LATTICE.center]
    per_item, per_frame = ("item",), ("item", "frame")
    variables = {
        "label": Variable(per_item, np.array(names)),
        "cell_type": Variable(per_item, np.array(names)),
        "network": Variable(per_item, np.zeros(n, np.int64)),
        "seed": Variable(per_item, np.zeros(n, np.int64)),
        "n_frames": Variable(per_item, np.full(n, frames)),
        "stimulus": Variable(("item", "frame", "column"), stimulus),
        "response": Variable(("item", "frame", "column"), response),
        "central_response": Variable(per_frame, central),
        "central_target_response": Variable(per_frame, central),
        "losses": Variable(("step", "item"), np.zeros((3, n))),
        "tolerance_met": Variable(per_item, np.arange(n) != 1),
    }
    return Result(kind, variables, Protocol(), "ab" * 32, ("<net>",), LATTICE.extent)


def walk_of(names: list[str], **said: list[float]) -> ThreeOptima:
    peaks = [1.0 + i for i in range(len(names))]
    artificial = result("artificial", names, [2 * p for p in peaks])
    for name, values in said.items():
        artificial.variables[name] = Variable(("item",), np.array(values))
    return ThreeOptima(
        result("naturalistic", names, peaks),
        result("regularized", names, [0.98 * p for p in peaks]),
        artificial,
    )


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


TUNING = {
    "preferred_direction_deg": [90.0, 359.7, np.nan],
    "direction_selectivity": [0.73, 0.05, np.nan],
    "polarity": [1, -1, 0],
    "polarity_index": [0.9, -0.8, np.nan],
}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk") / "gallery"
    written = write_gallery(walk_of(["T4c", "CT1(Lo1)", HOSTILE], **TUNING), folder)
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
    kept = {path.resolve() for path in gallery.rglob("*") if path.suffix == ".png"}
    assert shown == kept and not list(gallery.rglob(".*"))


def test_names_cannot_break_out_of_the_page(gallery: Path) -> None:
    parsed = Parsed((gallery / "index.html").read_text(encoding="utf-8"))
    assert "b" in parsed.tags  # of the numbers, so look at attributes too
    assert "onclick" not in parsed.attributes
    for name in ("CT1(Lo1)", HOSTILE, "<net>"):
        assert name in parsed.text


def test_it_says_what_the_results_hold(gallery: Path) -> None:
    parsed = Parsed((gallery / "index.html").read_text(encoding="utf-8"))
    for value in ("1.00", "0.980", "2.00", "98 %", "200 %", "90°", "0°", "ON", "OFF", "0.73"):
        assert value in parsed.text
    assert "360°" not in parsed.text
    # Of the second item alone, whose start stands.
    assert parsed.text.count("tolerance missed") == 1


def test_without_tuning_it_says_nothing_of_direction() -> None:
    text = page(walk_of(["T4c"]), ["T4c"])
    assert "ON</span>" not in text and 'class="arrow"' not in text
    Parsed(text)


def test_names_become_files_all_different() -> None:
    labels = ["CT1(Lo1)", "CT1(M10)", "../x", "x", "X", "", "a/b", "a b", "T4c-000-0-seed1", "ä"]
    names = safe_names(labels)
    assert names[:2] == ["CT1_Lo1", "CT1_M10"]
    assert len({name.lower() for name in names}) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names)


def test_a_thumbnail_ends_with_the_peak() -> None:
    stimulus = np.full((40, LATTICE.n_columns), 0.5, np.float32)
    stimulus[22] = 1.0
    stimulus[7] = 0.0
    central = np.zeros(40, np.float32)
    central[22] = 1.0
    response = np.repeat(central[:, None], LATTICE.n_columns, axis=1)
    pixels = figure_image(drawn(stimulus, response, central), dpi=150)
    centers = pixels[pixels.shape[0] // 2, at(pixels)]
    # 15, 10 and 5 frames before the peak, then the peak.
    np.testing.assert_allclose(centers[:, 0], [0, 128, 128, 255], atol=2)
    early = central.copy()
    early[3] = 2.0
    pixels = figure_image(drawn(stimulus, response, early), dpi=150)
    left = pixels[:, : pixels.shape[1] // 2]
    assert (left == left[0, 0]).all(), "an early peak leaves the left empty"


def drawn(stimulus: np.ndarray, response: np.ndarray, central: np.ndarray) -> Figure:
    return thumbnail(
        OptimalStimulus(stimulus, response, central, int(central.argmax())), LATTICE, 0.01
    )


def at(pixels: np.ndarray) -> np.ndarray:
    """Pixel columns of the middles of four frames."""
    return ((np.arange(4) + 0.5) * pixels.shape[1] / 4).astype(int)


def test_the_table_shows_names_as_they_are() -> None:
    table = walk_table(walk_of(["T4c", "[red]x"]))
    assert list(table.columns[0].cells) == ["T4c", "\\[red]x"]
    assert list(table.columns[3].cells) == ["2.00", "4.00"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_draws_it(gallery: Path, tmp_path: Path) -> None:
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
