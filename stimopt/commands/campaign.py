"""`stimopt campaign`: another command over a grid of cell types, networks and seeds, in chunks."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser

from stimopt import expect
from stimopt.commands import options
from stimopt.items import make_items
from stimopt.report.page import write_page
from stimopt.report.tables import optima_table, print_table
from stimopt.results import ThreeOptima, read
from stimopt.runs.campaign import Chunk, claim, plan_chunks, run_chunks, standing_alone
from stimopt.storage.files import replace_text


class Grid(NamedTuple):
    """Options of a command that span its items; a search has no seeds and a pass of all types."""

    group: str
    seeds: bool = False
    splits_types: bool = True


GRIDS = {
    "optima": Grid("", seeds=True),
    "generate": Grid("model", seeds=True),
    "regularize": Grid("model"),
    "search": Grid("model", splits_types=False),
}
"""Commands that a campaign runs. A search is a pass over all movies, which costs as much for one
cell type as for all, so that it is split by networks alone."""

OF_RUNS = (
    *("network.path", "network.connectome", "network.backend", "network.segment", "output"),
    *("trainer.", "checkpoint_every_", "pictures_every_", "ckpt_path", "animate", "page"),
)
"""Beginnings of options that decide where and how a campaign runs, but not what it is of."""


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options of the command that the arguments name, and those of the campaign."""
    command = options.early_options(arguments, ("command",)).get("command", "optima")
    expect.one_of("command", command, GRIDS)
    module = importlib.import_module(f"stimopt.commands.{command}")
    chosen: ArgumentParser = module.parser(arguments)
    chosen.prog = "stimopt campaign"
    add = chosen.add_argument
    add("--command", choices=list(GRIDS), default="optima", help="that runs each chunk")
    add("--items_per_chunk", type=int, default=65, help="most items in a chunk, of one network")
    chosen.set_defaults({"output": "logs/campaign"})
    return chosen


def run(arguments: Sequence[str]) -> int:
    """Run the chunks that are left for this process, and join all once they are there."""
    with standing_alone():
        return _Campaign(parser(arguments), arguments).run()


class _Campaign:
    """The options, the network, and the chunks."""

    def __init__(self, chosen: ArgumentParser, arguments: Sequence[str]) -> None:
        config = chosen.parse_args(list(arguments))
        self.text: str = chosen.dump(config, skip_none=False)
        self.options: dict[str, Any] = yaml.safe_load(self.text)
        self.command = self.options.pop("command")
        self.output, self.grid = Path(config.output), GRIDS[self.command]
        path = self.options.get("data", {}).get("path")
        advice = "render once by stimopt render, and give --data.stores"
        expect.that(path is None, "rendered movies", f"data.path {path}", advice)
        self.network, self.protocol = options.open_network(config)
        self.items, self.chunks = self.plan(self.options.pop("items_per_chunk"))

    def plan(self, size: int) -> tuple[dict[str, Any], list[Chunk]]:
        """What the items are combinations of, and the chunks of them."""
        of_items = self.options.get(self.grid.group, self.options)
        names = self.options.pop("types", None) or of_items["cell_types"]
        names = names if isinstance(names, str) else ",".join(names)
        items = make_items(self.network, names, of_items.get("seeds", 0), of_items["networks"])
        cell_types, networks, seeds = (
            list(dict.fromkeys(getattr(item, name) for item in items))
            for name in ("cell_type", "network", "seed")
        )
        self.network.precheck(self.protocol, networks)
        self.require_light(cell_types, networks)
        size = size if self.grid.splits_types else len(cell_types) * len(seeds)
        pooled = bool(of_items.get("consensus"))
        chunks = plan_chunks(cell_types, networks, seeds, self.network.names, size, pooled=pooled)
        grid = {"cell_types": cell_types, "networks": networks, "seeds": seeds}
        return {**grid, "items_per_chunk": size}, chunks

    def require_light(self, cell_types: list[str], networks: list[int]) -> None:
        """Refuse a cell that light cannot reach, as its chunk would be; a search warns of it."""
        dark = [
            f"{name} of {self.network.names[position]}"
            for position in networks
            for name in self.network.unreached(cell_types, [position])
        ]
        expect.that(
            not dark or self.command == "search",
            "a path from the photoreceptors to every cell",
            f"none to {', '.join(dark[:5])}",
            "leave the cell type or the lesion out",
        )

    def run(self) -> int:
        """Run what is left; the process that finishes last joins the results."""
        claim(self.output, self.settings(), self.chunks)
        replace_text(self.output / "config.yaml", self.text)
        with options.shared_network(self.network):
            whole = run_chunks(self.output, self.chunks, self.run_chunk)
        if not whole:
            print("other processes are at work on the chunks that are left")
            return 0
        result = read(self.output)
        if isinstance(result, ThreeOptima):
            print_table(optima_table(result))
        print(write_page(result, self.output / "page"))
        print(self.output)
        return 0

    def settings(self) -> dict[str, Any]:
        """What decides the results of the campaign, by name of the option."""
        left_out = (*OF_RUNS, *(f"{self.grid.group}.{name}".strip(".") for name in self.items))
        return {
            **{
                name: value
                for name, value in _flat(self.options)
                if name == "trainer.max_steps" or not name.startswith(left_out)
            },
            **self.items,
            "command": self.command,
            "network_hash": self.network.content_hash,
            "network_names": self.network.names,
        }

    def run_chunk(self, chunk: Chunk, folder: Path) -> None:
        """Run or resume the command for the items of a chunk."""
        chosen = {**self.options, "output": str(folder)}
        items = {"cell_types": list(chunk.cell_types), "networks": list(chunk.networks)}
        items |= {"seeds": list(chunk.seeds)} if self.grid.seeds else {}
        group = self.grid.group
        chosen |= {group: {**chosen[group], **items}} if group else items
        if "page" in chosen:
            chosen["page"] = False  # One page shows all chunks.
        config = folder.with_name(folder.name + ".yaml")
        replace_text(config, yaml.safe_dump(chosen))
        module = importlib.import_module(f"stimopt.commands.{self.command}")
        with contextlib.redirect_stdout(io.StringIO()):
            module.run([f"--config={config}"])
        config.unlink()


def _flat(nested: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Options by their dotted names."""
    return [
        pair
        for name, value in nested.items()
        for pair in (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict) and value
            else [(f"{prefix}{name}", value)]
        )
    ]
