"""How fast is stimopt, beside flyvis and beside stimopt 0.1 on the same machine in the same run?

    python benchmarks/run.py --quick
    python benchmarks/run.py --network FOLDER --make-env logs/flyvis --make-before logs/0.1
    python benchmarks/run.py --network ... --flyvis-python .../bin/python --movies MPI-Sintel

Each runs in a process of its own and is measured in turn, with as many threads; figures are
medians. flyvis and stimopt 0.1 need environments of their own: name their Pythons, or have them
made. What is absent is said, and the other figures follow. Prints a table and writes JSON, of which
`python benchmarks/table.py FILE.json` makes the README's table.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from machine import cores, describe, load
from pipe import Program
from plan import QUICK, Plan, Programs, Subject, measure, save
from startup import start_up
from table import agreement, rows, text

from stimopt.networks.flyvis_files import find_connectome

FLYVIS = "flyvis==1.2.0"
BEFORE = "2882513"
"""Commit of stimopt 0.1, which was not published."""
HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; what is missing ends it with one line and code 2."""
    try:
        return run(_parser().parse_args(arguments))
    except (ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"run.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """The benchmark with these options.

    Raises:
        ValueError: if an argument is missing, naming it.
        RuntimeError: if one of the two programs fails.
    """
    if options.make_env is not None:
        options.flyvis_python = make_environment(options.make_env)
    if options.make_before is not None:
        options.before_python = make_before(options.make_before)
    for name in ("flyvis_python", "before_python"):
        require_program(name, getattr(options, name))
    if options.network is not None and options.connectome is None:
        options.connectome = str(connectome_of(options.flyvis_python))
    plan = QUICK if options.quick else Plan()
    chosen = dict.fromkeys(("steps", "adam_steps", "region_steps"), options.steps)
    chosen |= {"frames": options.frames, "rounds": options.rounds, "many": options.many}
    plan = dataclasses.replace(plan, **{k: v for k, v in chosen.items() if v is not None})
    absent = _why_absent(options)
    if absent:
        print(f"flyvis is absent: {absent}. The other figures follow.", file=sys.stderr)
    if options.before_python is None:
        advice = "give --before-python or --make-before"
        print(f"0.1 is absent: {advice}. The other figures follow.", file=sys.stderr)
    start, machine = time.time(), {**describe(), "load_at_start": load()}
    with ExitStack() as stack:
        if options.work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stimopt-bench-")))
        else:
            work = options.work.resolve()
        found = _measured(options, plan, None if absent else options.flyvis_python, work)
    machine |= {"load_at_end": load(), "threads": options.threads}
    machine["minutes"] = round((time.time() - start) / 60, 1)
    table = rows(found)
    print(text(table))
    same = agreement(found)
    for what, difference in same.items():
        print(f"largest relative difference of {what}: {difference:.1e}")
    print(
        f"{machine['cpu']}, {machine['threads']} threads, load {machine['load_at_start']} to "
        f"{machine['load_at_end']}, {machine['minutes']} min"
    )
    result = {
        "flyvis": absent or "measured",
        "before": "absent" if options.before_python is None else BEFORE,
        "machine": machine,
        "rows": [dataclasses.asdict(row) for row in table],
        "agreement": same,
    }
    save(result, options.json)
    # Every single duration; not for the repository, as paths are in it.
    save(found, options.json.with_suffix(".raw"))
    print(options.json)
    return 0


def make_environment(folder: Path) -> Path:
    """An environment with flyvis in it, made unless it is there; its Python."""
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    has = subprocess.run([str(python), "-c", "import flyvis"], capture_output=True)
    if has.returncode:
        subprocess.run([str(python), "-m", "pip", "install", FLYVIS], check=True)
    return python


def make_before(folder: Path) -> Path:
    """An environment with stimopt 0.1 in it and what this one has, made unless there; its Python.

    Raises:
        ValueError: outside a checkout, which has the commit.
    """
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        root = HERE.parent
        if not (root / ".git").exists():
            raise ValueError(
                f"expected a checkout with commit {BEFORE} for --make-before, got {root}; clone "
                "the repository, or give --before-python"
            )
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        (packages,) = folder.resolve().glob("lib/python*/site-packages")
        # After its own packages; links in that folder, as to a checkout, do not count.
        packages.joinpath("shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        source = f"git+file://{root}@{BEFORE}"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", source]
        subprocess.run(pip, check=True)
    return python


def require_program(name: str, path: Path | None) -> None:
    """Reject a Python that is not there.

    Raises:
        ValueError: naming the option.
    """
    if path is not None and not path.is_file():
        option = "--" + name.replace("_", "-")
        raise ValueError(f"expected a Python for {option}, got {path}; name bin/python of it")


def connectome_of(flyvis_python: Path | None) -> Path:
    """The connectome file of this environment's flyvis, else of the one named.

    Raises:
        ValueError: if neither has one.
    """
    try:
        return find_connectome()
    except ValueError:
        if flyvis_python is None:
            raise ValueError(
                "expected --connectome with --network, got none and no installed flyvis; give it, "
                "or --flyvis-python of an environment with flyvis"
            ) from None
    ask = "import importlib.util as u; print(u.find_spec('flyvis').submodule_search_locations[0])"
    done = subprocess.run([str(flyvis_python), "-c", ask], capture_output=True, text=True)
    found = sorted(Path(done.stdout.strip(), "connectome").glob("*.json"))
    if done.returncode or not found:
        raise ValueError(
            f"expected --connectome, or flyvis in the environment of {flyvis_python}, got neither; "
            f"install {FLYVIS} there, or give --connectome"
        )
    return Path(found[0])


def _measured(
    options: argparse.Namespace, plan: Plan, flyvis: Path | None, work: Path
) -> dict[str, Any]:
    root = work / "flyvis"
    root.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    subject = Subject(
        options.network, options.connectome, options.extent, options.movies, options.cell_type
    )

    def say(what: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)

    log = options.json.resolve().with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)

    def fresh() -> Program:
        return Program(sys.executable, HERE / "stimopt_side.py", log, threads)

    with ExitStack() as stack:
        theirs = before = None
        if flyvis is not None:
            # It writes into its root folder whatever it compiles.
            environment = {**threads, "FLYVIS_ROOT_DIR": str(root), "MPLBACKEND": "agg"}
            theirs = stack.enter_context(Program(flyvis, HERE / "flyvis_side.py", log, environment))
        if options.before_python is not None:
            script = HERE / "before_side.py"
            before = stack.enter_context(Program(options.before_python, script, log, threads))
        programs = Programs(stack.enter_context(fresh()), theirs, before, fresh)
        found = measure(plan, subject, programs, options.threads, work, say)
    network = {"path": subject.network, "connectome": subject.connectome, "extent": subject.extent}
    say("start-up")
    found["start"] = [start_up(network, options.threads) for _ in range(plan.rounds)]
    return found


def _why_absent(options: argparse.Namespace) -> str:
    if options.flyvis_python is None:
        return "give --flyvis-python or --make-env"
    if options.network is None:
        return "it has no built-in network; give --network"
    if options.extent not in (None, 15):
        return "its network has extent 15; leave --extent out"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a few minutes: fewer steps, clips and repetitions")
    add("--network", help="folder of a trained network; by default the built-in circuit")
    add("--connectome", help="its connectome file; by default the one of an installed flyvis")
    add("--extent", type=int, help="rings of columns (flyvis: 15)")
    add("--movies", help="movies for the search, as `stimopt render` takes; default built-in ones")
    add("--cell-type", default="T4c", help="whose optimum is generated")
    add("--flyvis-python", type=Path, help=f"Python of an environment with {FLYVIS}")
    add("--make-env", type=Path, help="folder in which to make such an environment with pip")
    add("--before-python", type=Path, help=f"Python of an environment with commit {BEFORE}")
    add("--make-before", type=Path, help="folder in which to make such an environment with pip")
    add("--threads", type=int, default=cores(), help="threads of either program; all cores")
    add("--steps", type=int, help="steps of our fits")
    add("--frames", type=int, help="frames of a stimulus")
    add("--many", type=int, help="items of a batch beside 1 and 65; 16")
    add("--rounds", type=int, help="how often each figure is taken; 3 or more")
    add("--work", type=Path, help="folder to keep: flyvis's compiled connectome, rendered movies")
    add("--json", type=Path, default=Path("logs/benchmark.json"), help="where the figures go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
