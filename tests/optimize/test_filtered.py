"""Luminance filtered in time and space."""

from __future__ import annotations

import pytest
import torch

from stimopt.optimize.filtered import Filtered


def random_filter(still: int = 0) -> Filtered:
    generator = torch.Generator().manual_seed(0)
    time, space = torch.rand(4, 4, generator=generator), torch.rand(3, 3, generator=generator)
    time, space = time / time.sum(1, keepdim=True), 0.8 * space / space.sum(1, keepdim=True)
    return Filtered(time, space, torch.full((3,), 0.1), still)


def test_luminance_is_the_sum_over_frames_and_columns() -> None:
    filtered = random_filter()
    pixels = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("ts,isc,dc->itd", filtered.time, pixels, filtered.space) + 0.1
    torch.testing.assert_close(filtered.luminance(pixels), expected)


def test_a_gradient_reaches_every_pixel() -> None:
    pixels = torch.full((1, 4, 3), 0.5, requires_grad=True)
    random_filter().luminance(pixels).sum().backward()
    assert (pixels.grad > 0).all()


def test_pixels_stay_in_range_and_still_frames_grey() -> None:
    pixels = torch.tensor([[[-1.0, 0.2, 2.0]] * 4])
    random_filter(still=1).project_(pixels)
    assert pixels[0].tolist() == [
        [0.5] * 3, *[[0.0, pytest.approx(0.2), 1.0]] * 3,
    ]  # fmt: skip


def test_its_text_tells_filters_apart() -> None:
    one, same = random_filter(), random_filter()
    other = Filtered(one.time, one.space, one.rest + 1e-3)
    assert repr(one) == repr(same) != repr(other)
    assert repr(one) != repr(random_filter(still=1))


@pytest.mark.parametrize(
    ("shapes", "still", "message"),
    [
        (((4, 3), (3, 3), (3,)), 0, "time"),
        (((4, 4), (3, 4), (3,)), 0, "space"),
        (((4, 4), (3, 3), (3,)), 4, "still"),
    ],
)
def test_filters_that_do_not_fit_are_refused(shapes, still: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Filtered(*map(torch.zeros, shapes), still=still)
