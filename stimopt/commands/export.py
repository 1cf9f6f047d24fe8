"""`stimopt export`: optima for the display in front of a fly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from stimopt import expect
from stimopt.commands import options
from stimopt.commands.parsers import command_parser
from stimopt.export.directions import Eye
from stimopt.export.displays import Arena, Display, FlatScreen, Sphere
from stimopt.export.formats import Film, Format, Npz, Png, Shown, Stimpack
from stimopt.export.g4 import G4
from stimopt.export.g6 import G6
from stimopt.export.light import Levels, Light
from stimopt.export.nwb import Nwb
from stimopt.export.refit import FITTED, fit_to_rig, fitted, improves, require_fit, seeks_drive
from stimopt.export.seen import NoResponse, Seen, seen_back
from stimopt.export.session import Order, on_rig, require_new, write_session
from stimopt.export.stimuli import Stimulus, add_controls, choose_stimuli, results_of
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.networks.model import ResponseModel
from stimopt.networks.opening import NetworkSource
from stimopt.protocol import Protocol
from stimopt.results import Result, read
from stimopt.runs.trainer import fit
from stimopt.storage.files import replace_text
from stimopt.storage.identity import sha256_of_file

_FORMATS: tuple[type[Format], ...] = (Npz, Png, Film, G4, G6, Stimpack, Nwb)
FORMATS = {each.name: each for each in _FORMATS}
DISPLAYS: dict[str, type[Display]] = {"sphere": Sphere, "screen": FlatScreen, "arena": Arena}


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options; those of the format and the display are of the ones chosen."""
    early = options.early_options(arguments, ("to", "display_type"))
    to = early.get("to", "npz")
    expect.one_of("format", to, FORMATS)
    made, usual = FORMATS[to], "arena" if to in ("g4", "g6") else "sphere"
    kind = options.chosen_method({"display_type": usual} | early, DISPLAYS, "display_type")
    text = "Export stimuli for a rig, and tell what is left of the response there."
    parser = command_parser(ArgumentParser, "export", text)
    add = parser.add_argument
    text = "a result.h5 of a fit or search, an optima.h5, or the folder of a campaign"
    add("result", type=str, help=text)
    add("--to", choices=list(FORMATS), default=to, help="the format")
    add("--display_type", choices=list(DISPLAYS), default=usual, help="what shows it")
    add("--items", type=str, default="all", help="labels or cell types, commas between, or all")
    add(
        "--kinds",
        type=list[str] | str,
        default=["artificial"],
        help="of a file of the three optima",
    )
    controls = "after every stimulus: reversed, inverted, mirrored, scrambled, and grey once"
    add("--controls", type=list[str] | str, default=[], help=controls)
    add("--output", type=str, default="logs/export", help="folder to be created")
    add("--overwrite", type=bool, default=False, help="replace an earlier session")
    add("--seen_back", type=bool, default=False, help="simulate what the fly sees of the files")
    text = "optimize for the rig for so many steps, and export that (200 with no number)"
    add("--fit_to_rig", "--fit-to-rig", type=int, default=0, nargs="?", const=200, help=text)
    add("--width", type=float, default=0.0, help="of a Gaussian that draws a column; 0: nearest")
    text = "what columns beyond the display see: refuse, dark or grey"
    add("--outside", type=str, default="refuse", help=text)
    parser.add_class_arguments(kind, "display")
    for name, settings in (("eye", Eye), ("light", Light), ("timing", Timing), ("order", Order)):
        parser.add_class_arguments(settings, name)
    parser.add_class_arguments(made, "format", fail_untyped=False)
    parser.add_class_arguments(NetworkSource, "network", instantiate=False)
    parser.set_defaults({"light.levels": made.levels[0]})
    if to == "g6" and kind is Arena:
        parser.set_defaults({"display.name": "G6 2x10"})
    return parser


def run(arguments: Sequence[str]) -> int:
    """Export, and print what is left of the responses, and the folder."""
    chosen = parser(arguments)
    config = chosen.instantiate_classes(chosen.parse_args(list(arguments)))
    expect.whole("fit_to_rig", config.fit_to_rig, "0 fits nothing, 200 steps are usual")
    path, order, made = Path(config.result), config.order, config.format
    results = results_of(read(path), config.kinds)
    protocol, stimuli = _without_fade(results[0].protocol), choose_stimuli(results, config["items"])
    rig = Rig(config.display, config.eye, config.light, config.timing, config.width, config.outside)
    made = FORMATS[config.to]() if made is None else made
    require_new(config.output, config.overwrite)  # before a long fit
    if config.fit_to_rig:
        for result in results:
            require_fit(result)
    network = _network(config, results[0]) if config.seen_back or config.fit_to_rig else None

    def laid_out() -> list[Shown]:
        every = add_controls(stimuli, config.controls, order.seed)
        return on_rig(every, rig, made, protocol, order)

    played, left = laid_out(), dict[str, Seen]()
    if network is not None and config.fit_to_rig:
        of_kind = {result.kind: result for result in results}
        for i, shown in enumerate(played[: len(stimuli)]):
            result = of_kind[shown.stimulus.kind]
            stimuli[i], before = _refitted(shown, result, network, protocol, config.fit_to_rig)
            left |= before
        played = laid_out()
    about = {
        "result": path.name,
        "result_sha256": sha256_of_file(path) if path.is_file() else None,  # None: a campaign's
        "network_hash": results[0].network_hash,
        "network_names": results[0].network_names,
        "protocol": results[0].protocol.to_dict(),
        "config": results[0].config,
        "versions": results[0].versions,
        "fit_to_rig_steps": config.fit_to_rig,
    }
    files = write_session(
        played, made, config.output, order, provenance=about, overwrite=config.overwrite
    )
    if network is not None:
        for shown, file in zip(played[: len(stimuli)], files, strict=False):
            levels = made.read(file, shown.stimulus.name)
            if (seen := _seen(shown, levels, network, protocol)) is not None:
                left[seen.name] = seen
        _report(left, Path(config.output) / "seen.json")
    print(config.output)
    return 0


def _refitted(
    shown: Shown, result: Result, network: ResponseModel, protocol: Protocol, steps: int
) -> tuple[Stimulus, dict[str, Seen]]:
    """A stimulus fitted to its rig, or as it was where that gains nothing; and what was left of it.

    What was left of the response before is under the stimulus's name; nothing where none was tried.
    """
    stimulus = shown.stimulus
    if not seeks_drive(result, stimulus.label):
        print(f"{stimulus.name}: is at grey, where there is nothing to fit")
        return stimulus, {}
    if (before := _seen(shown, shown.levels(), network, protocol)) is None:
        return stimulus, {}
    module = fit_to_rig(shown, network, protocol, result, steps)
    fit(module, steps, logger=False, enable_progress_bar=False)
    again = dataclasses.replace(shown, stimulus=fitted(module, stimulus))
    after = seen_back(again, again.levels(), network, protocol)
    gains = improves(result, before, after, stimulus.sign)
    if not gains:
        print(f"{stimulus.name}: the fit regained nothing, and is not exported")
    return again.stimulus if gains else stimulus, {stimulus.name: before}


def _seen(shown: Shown, levels: Levels, network: ResponseModel, protocol: Protocol) -> Seen | None:
    """What is left of the response, or None and a line on the screen where there was none."""
    try:
        return seen_back(shown, levels, network, protocol)
    except NoResponse as error:
        print(error)
        return None


def _report(left: Mapping[str, Seen], file: Path) -> None:
    """Print and write what is left of the responses, and what fits have regained."""
    report = {}
    for name, seen in left.items():
        print(seen)
        report[name] = seen.to_dict()
        if (before := left.get(name.removesuffix(FITTED), seen)) is not seen:
            gained = (seen.shown - before.shown) / before.ideal
            report[name]["regained"] = gained
            print(
                f"  the fit regained {100 * gained:.1f} % of the response to {before.name}\n"
                f"  distance to grey {seen.grey_distance:.4g}, before {before.grey_distance:.4g}"
            )
    replace_text(file, json.dumps(report, indent=1))


def _without_fade(protocol: Protocol) -> Protocol:
    """The protocol with grey in place of a fade-in, which no rig is told to show."""
    if not protocol.t_fade_in:
        return protocol
    print(
        f"grey is shown in place of the fade-in of {protocol.t_fade_in:g} s, and responses are "
        "compared without it: they differ from those of the result"
    )
    return dataclasses.replace(protocol, t_pre=protocol.t_pre + protocol.t_fade_in, t_fade_in=0.0)


def _network(config: Namespace, result: Result) -> ResponseModel:
    """The network of the result."""
    network = NetworkSource(**vars(config.network)).open(result.protocol)
    result.require_network(network)
    return network
