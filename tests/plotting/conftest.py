"""What makes a figure legible, checked on the text that is really drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from stimopt.plotting import style


@pytest.fixture
def illegible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    """Texts that are cut off, too small, under another, or an offset of tick labels.

    The function takes a figure, or a function that draws one.
    """

    def illegible(draw: Figure | Callable[[], Any]) -> list[str]:
        texts: list[Text] = []
        draw_text = Text.draw

        def record(self: Text, *args: Any, **kwargs: Any) -> None:
            # Ticks out of view exist but are never drawn.
            if self.get_visible() and self.get_text().strip():
                texts.append(self)
            draw_text(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", record)
            FigureCanvasAgg(draw).draw() if isinstance(draw, Figure) else draw()
        assert texts
        boxes = [text.get_window_extent() for text in texts]
        return [
            text.get_text()
            for i, text in enumerate(texts)
            if _is_illegible(text) or any(boxes[i].overlaps(box) for box in boxes[:i])
        ]

    return illegible


def _is_illegible(text: Text) -> bool:
    box, canvas = text.get_window_extent(), text.get_figure(root=True).bbox
    cut_off = box.x0 < 0 or box.y0 < 0 or box.x1 > canvas.width or box.y1 > canvas.height
    offset = re.fullmatch(r"[+\N{MINUS SIGN}]?1e[\N{MINUS SIGN}+]?\d+.*", text.get_text())
    return cut_off or offset is not None or float(text.get_fontsize()) < style.TICK_SIZE
