"""`stimopt campaign`: another command over a grid of cell types, networks and seeds, in chunks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

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
from stimopt.storage.identity import sha256_of_file

GROUPS = {"optima": "", "generate": "model", "regularize": "model", "search": "model"}
"""Commands that a campaign runs, and where the options of their items stand. A search is a pass
over all movies, which costs as much for one cell type as for all, so that it is split by networks
alone."""

OF_RUNS = (
    *("network.path", "network.connectome", "network.backend", "network.segment", "output"),
    *("trainer.", "checkpoint_every_", "pictures_every_", "ckpt_path", "animate", "page"),
    *("config", "types"),
)
"""Beginnings of options that decide where and how a campaign runs, but not what it is of."""

FILES = ("search_result", "init", "ceiling", "pool", "stores")
"""Options that may name files. A campaign is identified by what is in them, as they may move."""


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options of the command that the arguments name, and those of the campaign."""
    command = options.early_options(arguments, ("command",)).get("command", "optima")
    expect.one_of("command", command, GROUPS)
    chosen: ArgumentParser = import_module(f"stimopt.commands.{command}").parser(arguments)
    chosen.prog = "stimopt campaign"
    add = chosen.add_argument
    add("--command", choices=list(GROUPS), default="optima", help="that runs each chunk")
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
        self.config = config = chosen.parse_args(list(arguments))
        self.text: str = chosen.dump(config, skip_none=False)
        self.output, self.group = Path(config.output), GROUPS[config.command]
        path = config.get("data.path")
        advice = "render once by stimopt render, and give --data.stores"
        expect.that(path is None, "rendered movies", f"data.path {path}", advice)
        time = config.get("trainer.max_time")
        advice = "leave it out: a chunk that it ended would count as finished"
        expect.that(time is None, "no trainer.max_time in a campaign", time, advice)
        self.network, protocol = options.open_network(config)
        own = config[self.group] if self.group else config
        names = config.get("types") or own.cell_types
        names = names if isinstance(names, str) else ",".join(names)
        items = make_items(self.network, names, own.get("seeds", 0), own.networks)
        self.items: dict[str, list[Any]] = {
            f"{name}s": list(dict.fromkeys(getattr(item, name) for item in items))
            for name in ("cell_type", "network", "seed")
        }
        self.network.precheck(protocol, self.items["networks"])
        self.require_light()
        if config.command == "search":
            config.items_per_chunk = len(self.items["cell_types"])
        size, pooled = config.items_per_chunk, bool(own.get("consensus"))
        self.chunks = plan_chunks(**self.items, names=self.network.names, size=size, pooled=pooled)

    def require_light(self) -> None:
        """Refuse a cell that light cannot reach, as its chunk would be; a search warns of it."""
        dark = [
            f"{name} of {self.network.names[position]}"
            for position in self.items["networks"]
            for name in self.network.unreached(self.items["cell_types"], [position])
        ]
        passes, got = not dark or self.config.command == "search", f"none to {', '.join(dark[:5])}"
        advice = "leave the cell type or the lesion out"
        expect.that(passes, "a path from the photoreceptors to every cell", got, advice)

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
        left_out = (*OF_RUNS, *(f"{self.group}.{name}".strip(".") for name in self.items))
        decides = {
            name: _contents(value) if name.rpartition(".")[2] in FILES else value
            for name, value in self.config.items()
            if name == "trainer.max_steps" or not name.startswith(left_out)
        }
        own = {"network_hash": self.network.content_hash, "network_names": self.network.names}
        return {**decides, **self.items, **own}

    def run_chunk(self, chunk: Chunk, folder: Path) -> None:
        """Run or resume the command for the items of a chunk."""
        chosen = {**yaml.safe_load(self.text), "output": str(folder)}
        for name in ("command", "items_per_chunk", "types"):
            chosen.pop(name, None)
        if "page" in chosen:
            chosen["page"] = False  # One page shows all chunks.
        own = chosen[self.group] if self.group else chosen
        own.update({name: list(getattr(chunk, name)) for name in self.items if name in own})
        config = folder.with_name(folder.name + ".yaml")
        replace_text(config, yaml.safe_dump(chosen))
        with contextlib.redirect_stdout(io.StringIO()):
            import_module(f"stimopt.commands.{self.config.command}").run([f"--config={config}"])
        config.unlink()


def _contents(value: Any) -> Any:
    """The value with the hash of each file in place of its path, also after `naturalistic:`."""
    if isinstance(value, list):
        return [_contents(part) for part in value]
    kind, colon, path = str(value).rpartition(":")
    return f"{kind}{colon}{sha256_of_file(Path(path))}" if Path(path).is_file() else value
