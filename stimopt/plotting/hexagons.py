"""One frame on the lattice: a hexagon per column, at its place in the visual field."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.transforms import AffineDeltaTransform
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats, HexLattice, Ints
from stimopt.plotting import style

_CORNERS = np.deg2rad(60.0 * np.arange(6))
CROSSHAIR = "#1a7f37"  # green: in neither the grey nor the blue-to-red scale


def hex_frame(
    ax: Axes,
    lattice: HexLattice,
    values: ArrayLike,
    *,
    vmin: float,
    vmax: float,
    cmap: str | Colormap,
    max_extent: int | None = 6,
    crosshair: bool = False,
) -> PolyCollection:
    """Draw one value per column as hexagons; upward on the lattice is upward in the picture.

    The axes get equal aspect, no frame, and limits around the drawn columns.

    Args:
        ax: axes to draw on.
        lattice: the columns.
        values: `(columns,)`; NaN where there is no cell, drawn as an empty outline.
        vmin: value of the colour map's lower end.
        vmax: value of the colour map's upper end.
        cmap: colour map.
        max_extent: rings of columns drawn around the centre; None for all of the lattice.
        crosshair: mark the central column.

    Returns:
        The hexagons, in the lattice's order of columns. `set_array` changes their values (those of
        `drawn_columns(lattice, max_extent)`).

    Raises:
        ValueError: if there is not one value per column, or `vmin` is not below `vmax`.
    """
    values = np.asarray(values, dtype=np.float64)
    advice = f"pass one frame of a lattice of extent {lattice.extent}"
    expect.shape("values of shape", values, (lattice.n_columns,), advice)
    expect.that(vmin < vmax, "vmin < vmax", f"{vmin} and {vmax}", "widen the colour limits")
    return hex_frames(
        ax,
        lattice,
        values[None],
        vmin=vmin,
        vmax=vmax,
        cmap=cmap,
        max_extent=max_extent,
        crosshair=crosshair,
    )


def hex_frames(
    ax: Axes,
    lattice: HexLattice,
    values: Floats,
    *,
    vmin: float,
    vmax: float,
    cmap: str | Colormap,
    max_extent: int | None,
    crosshair: bool = True,
    slots: int | None = None,
    pitch: float = 1.0,
) -> PolyCollection:
    """Draw frames side by side as `hex_frame` draws one, the last at the right end.

    All are one collection in one axes: axes for each frame take several times as long.

    Args:
        ax: axes to draw on.
        lattice: the columns.
        values: `(frames, columns)`; NaN where there is no cell.
        vmin: value of the colour map's lower end.
        vmax: value of the colour map's upper end.
        cmap: colour map.
        max_extent: rings of columns drawn around the centre; None for all of the lattice.
        crosshair: mark the central columns.
        slots: frames that the axes have room for; None for those drawn.
        pitch: distance of neighbouring frames in widths of a frame.

    Returns:
        The hexagons, frame after frame; `set_array` changes their values.
    """
    width, height = frame_size(lattice, max_extent)
    slots = slots or len(values)
    middles = pitch * width * np.arange(1.0 - len(values), 1.0)
    columns = drawn_columns(lattice, max_extent)
    shown = np.ma.masked_invalid(values[:, columns])
    centers = np.stack(lattice.picture_coordinates(), axis=-1)[columns]
    places = centers + np.stack([middles, 0 * middles], axis=-1)[:, None]
    behind: dict[str, Any] = {"facecolors": "none", "edgecolors": "0.85", "zorder": 0}
    incomplete = np.ma.getmaskarray(shown).any(axis=1)
    if incomplete.any():
        outlines = _hexagons(ax, places[incomplete], linewidths=0.25, **behind)
        ax.add_collection(outlines, autolim=False)
    hexagons = _hexagons(
        ax,
        places,
        array=shown.ravel(),
        cmap=cmap,
        norm=Normalize(vmin, vmax),
        # Edges in the colour of the face close the hairlines between anti-aliased neighbours.
        edgecolors="face",
        linewidths=0.2,
    )
    ax.add_collection(hexagons, autolim=False)
    # White hexagons at the border of a complete frame would not differ from the paper.
    border = _border(centers) + np.stack([middles, 0 * middles], axis=-1)[:, None]
    ax.add_collection(
        PolyCollection(list(border[~incomplete]), linewidths=1.0, **behind), autolim=False
    )
    ax.set_xlim((0.5 - slots) * pitch * width, 0.5 * pitch * width)
    ax.set_ylim(-height / 2, height / 2)
    ax.set_aspect("equal")
    # Ticks that are not drawn take time too, once a search through the artists creates them.
    ax.set(xticks=[], yticks=[])
    ax.set_axis_off()
    if crosshair:
        _add_crosshairs(ax, middles, width, height)
    return hexagons


def drawn_columns(lattice: HexLattice, max_extent: int | None) -> Ints:
    """Indices of the columns within `max_extent` rings of the centre (None: all).

    Raises:
        ValueError: if `max_extent` is negative.
    """
    if max_extent is None:
        return np.arange(lattice.n_columns, dtype=np.int64)
    expect.whole("max_extent", max_extent, "0 draws only the central column")
    return np.flatnonzero(lattice.ring <= max_extent)


def frame_size(lattice: HexLattice, max_extent: int | None) -> tuple[float, float]:
    """Width and height of a frame with a narrow margin, in picture coordinates."""
    rings = lattice.extent if max_extent is None else min(max_extent, lattice.extent)
    margin = 0.2
    return 3.0 * rings + 2.0 + margin, np.sqrt(3.0) * (2.0 * rings + 1.0) + margin


def add_colorbar(ax: Axes, hexagons: PolyCollection, label: str) -> Colorbar:
    """Fill `ax` with a colour bar whose ticks are both ends and the middle."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    bar = fig.colorbar(hexagons, cax=ax)
    label_colorbar(bar)
    bar.outline.set_linewidth(0.4)
    ax.tick_params(labelsize=style.TICK_SIZE, length=2, width=0.4, pad=1.5)
    ax.set_ylabel(label, fontsize=style.TICK_SIZE, labelpad=1.5)
    return bar


def label_colorbar(bar: Colorbar) -> None:
    """Write the present colour limits and their middle beside the bar."""
    low, high = bar.mappable.get_clim()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{t:g}" if low == 0 else style.number(t) for t in ticks])


def _hexagons(ax: Axes, places: Floats, **options: Any) -> PolyCollection:
    """Hexagons of circumradius 1, flat side up, at `places` `(..., 2)`."""
    return PolyCollection(
        [np.stack([np.cos(_CORNERS), np.sin(_CORNERS)], axis=-1)],
        offsets=places.reshape(-1, 2),
        offset_transform=AffineDeltaTransform(ax.transData),  # type: ignore[arg-type]
        **options,
    )


def _border(centers: Floats) -> Floats:
    """Corners around all hexagons at `centers` `(columns, 2)`, in order, `(corners, 2)`."""
    around = np.stack([np.cos(_CORNERS), np.sin(_CORNERS)], axis=-1)
    corners = np.round(centers[:, None] + around, 6).reshape(-1, 2) + 0.0  # no -0.0
    corners, shared_by = np.unique(corners, axis=0, return_counts=True)
    outer = corners[shared_by < 3]
    return outer[np.argsort(np.arctan2(outer[:, 1], outer[:, 0]))]


def _add_crosshairs(ax: Axes, middles: Floats, width: float, height: float) -> None:
    # Open at the centre, so that the column it points at stays visible.
    gap, right, top = 1.0, width / 2, height / 2
    arms = [
        [(-right, 0.0), (-gap, 0.0)],
        [(gap, 0.0), (right, 0.0)],
        [(0.0, -top), (0.0, -gap)],
        [(0.0, gap), (0.0, top)],
    ]
    moved = [[(x + middle, y) for x, y in arm] for middle in middles for arm in arms]
    lines = LineCollection(moved, colors=CROSSHAIR, linewidths=0.35, zorder=3)
    ax.add_collection(lines, autolim=False)
