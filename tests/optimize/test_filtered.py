"""Luminance filtered in time and space."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import stimopt
from stimopt.lattice import HexLattice
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator
from stimopt.optimize.filtered import Bandwidth, Filtered, acceptance, hold
from stimopt.optimize.generate import RegionGenerator, StimulusGenerator
from stimopt.protocol import Protocol
from tests.optimize.cases import linear_jacobian, linear_network


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


# -- the bandwidth of a display or an eye ---------------------------------------------------------

QUIET = {"enable_progress_bar": False, "logger": False}
SHORT = {"protocol": Protocol(t_pre=0.0), "t_stim": 0.06}
FILTERS = {
    "hold": Bandwidth(t_hold=0.02),
    "low-pass": Bandwidth(t_lowpass=0.03),
    "acceptance": Bandwidth(acceptance=7.0),
    "all": Bandwidth(0.02, 0.03, 7.0),
}


def test_a_hold_shows_each_picture_for_its_time() -> None:
    pixels = torch.tensor([0.0, 1.0, 0.2, 0.4, 1.0])
    shown = hold(5, 0.02, Protocol()) @ pixels
    torch.testing.assert_close(shown, torch.tensor([0.5, 0.5, 0.3, 0.3, 1.0]))


def test_a_low_pass_is_the_euler_step_of_a_cell_without_input() -> None:
    pixels = torch.rand(30, generator=torch.Generator().manual_seed(0))
    filters = Bandwidth(t_lowpass=0.05).filters(HexLattice(0), Protocol(), 30)
    expected, y = [], 0.5  # grey before the first frame
    for x in pixels.tolist():
        y += 0.01 / 0.05 * (x - y)
        expected.append(y)
    seen = filters.luminance(pixels[None, :, None])[0, :, 0]
    torch.testing.assert_close(seen, torch.tensor(expected))


def test_a_point_is_seen_at_half_its_brightness_half_an_acceptance_angle_away() -> None:
    # Neighbouring columns are 5.8 degrees apart.
    space = acceptance(HexLattice(8), 11.6)
    centre = HexLattice(8).center
    neighbour = int(HexLattice(8).index(1, 0))
    assert space[centre, neighbour] / space[centre, centre] == pytest.approx(0.5)
    assert space[centre].sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", FILTERS)
def test_grey_stays_grey_to_the_edge_of_the_lattice(name: str) -> None:
    filters = FILTERS[name].filters(HexLattice(3), Protocol(), 6)
    grey = torch.full((1, 6, 37), 0.5)
    torch.testing.assert_close(filters.luminance(grey), grey)


@pytest.mark.parametrize("name", FILTERS)
def test_pixels_are_had_back_from_what_is_seen_of_them(name: str) -> None:
    filters = FILTERS[name].filters(HexLattice(2), Protocol(), 6)
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 2, (2, 6, 19), generator=random).float()
    seen = filters.luminance(pixels)
    assert seen.min() >= 0 and seen.max() <= 1
    torch.testing.assert_close(filters.luminance(filters.parameters(seen)), seen, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", FILTERS)
def test_the_ceiling_of_a_linear_cell_behind_filters_is_the_closed_form(name: str) -> None:
    network, kernel = linear_network()
    bandwidth = FILTERS[name]
    result = stimopt.fit(ResponseRange(network, "linear", bandwidth=bandwidth, **SHORT), **QUIET)
    filters = bandwidth.filters(network.lattice, Protocol(), 6)
    g = torch.as_tensor(linear_jacobian(kernel, 6)[-1].reshape(6, 7)).float()
    # r = g (T p S' + rest), so each pixel is black or white by the sign of T' g S.
    back = filters.time.T @ g @ filters.space
    rest = filters.rest.expand(6, 7)
    expected = back.clamp(min=0).sum() + (g * rest).sum()
    assert result["objective"][0] == pytest.approx(float(expected), rel=1e-4)
    assert result["optimality_residual"][0] == pytest.approx(0, abs=1e-3)
    assert result["objective"][0] < g.clamp(min=0).sum()  # the free ceiling
    # The result holds what is seen, so that it is checked against the network itself.
    assert result.check(network) < 1e-5


def test_an_efficient_stimulus_behind_filters_reaches_its_level() -> None:
    network = stimopt.builtin_network(extent=3)
    options = {"cell_types": "T4c", "t_stim": 0.15, "bandwidth": Bandwidth(t_hold=0.05)}
    ceiling = stimopt.fit(EfficientGenerator.range_fit(network, **options), **QUIET)
    result = stimopt.fit(EfficientGenerator(network, ceiling=ceiling, **options), **QUIET)
    assert result["level_met"].all() and result["fraction_reached"][0] < 0.92
    assert result["grey_distance"][0] < ((ceiling["stimulus"] - 0.5) ** 2).sum()
    pictures = result["stimulus"][0].reshape(3, 5, -1)
    assert (pictures == pictures[:, :1]).all()


@pytest.mark.parametrize("kind", [StimulusGenerator, RegionGenerator])
def test_a_weighted_loss_takes_a_bandwidth(kind: Any) -> None:
    network, _ = linear_network()
    fit = kind(network, "linear", bandwidth=Bandwidth(t_hold=0.02), **SHORT)
    seen = stimopt.fit(fit, steps=3, **QUIET)["stimulus"][0].reshape(3, 2, -1)
    assert (seen[:, 0] == seen[:, 1]).all() and (seen[0] != seen[1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_hold": -0.1}, "t_hold"),
        ({"t_lowpass": float("nan")}, "t_lowpass"),
        ({"acceptance": 100.0}, "acceptance"),
    ],
)
def test_a_bandwidth_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bandwidth(**options)
