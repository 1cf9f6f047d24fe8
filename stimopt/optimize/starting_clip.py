"""A clip to start a regularization from, as a tensor or from the result of a search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stimopt.items import Item
from stimopt.networks.model import ResponseModel
from stimopt.optimize.starts import NATURALISTIC, naturalistic_start
from stimopt.protocol import GREY, Protocol


def starting_clip(
    network: ResponseModel,
    items: Sequence[Item],
    protocol: Protocol,
    init: str | Tensor,
    n_frames: Sequence[int] | Tensor | None,
    each: int,
) -> tuple[Tensor, Tensor]:
    """Clips `(items, frames, columns)`, grey after their end, and their lengths `(items,)`.

    Args:
        network: the clips must fit it.
        items: what is being sought.
        protocol: its dt must be that of the clips.
        init: as for `StimulusRegularizer`.
        n_frames: likewise.
        each: items that share a clip; a tensor may hold one clip for all of them.

    Raises:
        ValueError: for a start of another kind, or lengths that do not fit.
    """
    if isinstance(init, str):
        if not init.startswith(NATURALISTIC) or init == NATURALISTIC:
            raise ValueError(
                f"expected init '{NATURALISTIC}RESULT.h5' or a tensor, got {init!r}; write "
                "'naturalistic:' before the path of a search result"
            )
        if n_frames is not None:
            raise ValueError(
                "expected n_frames with a tensor only, got it with a search result; leave it out, "
                "the result holds the lengths"
            )
        return naturalistic_start(init.removeprefix(NATURALISTIC), network, items, protocol.dt)
    start = init.detach().cpu()
    if start.ndim != 3:
        raise ValueError(
            f"expected a start (items, frames, columns), got {tuple(start.shape)}; add or drop axes"
        )
    if n_frames is None:
        lengths = torch.full((len(start),), start.shape[1])
    else:
        lengths = torch.as_tensor(n_frames, dtype=torch.int64).cpu()
    if lengths.shape != (len(start),):
        raise ValueError(
            f"expected n_frames ({len(start)},), got {tuple(lengths.shape)}; one for each clip"
        )
    if len(start) * each == len(items):
        start, lengths = (part.repeat_interleave(each, dim=0) for part in (start, lengths))
    after = torch.arange(start.shape[1]) >= lengths[:, None]
    return start.masked_fill(after[..., None], GREY), lengths
