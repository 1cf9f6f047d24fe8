"""Do the tests pass with every Python, and with the oldest and newest dependencies allowed?

    python scripts/try_versions.py 3.10 3.13
    python scripts/try_versions.py 3.12 --resolution highest -- tests/test_dynamics.py

For each Python and resolution, makes an environment with uv, which resolves pyproject.toml anew
instead of taking the pinned versions, and runs the tests in it. Prints one line for each, and ends
with 1 if one fails. uv takes interpreters from the PATH and fetches others. Torch comes as the
package index has it, for Linux with CUDA's libraries: several GB, shared by links.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOLUTIONS = ("lowest-direct", "highest")
SHOWN = ("torch", "lightning", "jsonargparse", "numpy", "numba", "h5py", "av", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the environments, run the tests, print what came of it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index("--") if "--" in given else len(given)
    parser = _parser()
    options, tests = parser.parse_args(given[:at]), given[at + 1 :]
    if shutil.which(options.uv) is None:
        parser.error(f"expected the program uv, got none at {options.uv}; pip install uv")
    outcomes = [
        _tested(options, python, resolution, tests)
        for python in options.pythons
        for resolution in options.resolution or RESOLUTIONS
    ]
    print("\n".join(line for line, _ in outcomes))
    return 0 if all(passed for _, passed in outcomes) else 1


def _tested(
    options: argparse.Namespace, python: str, resolution: str, tests: list[str]
) -> tuple[str, bool]:
    """One environment: what is in it and how the tests ended, and whether they passed."""
    folder = options.folder.resolve() / f"{python}-{resolution}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    inside = {**os.environ, "VIRTUAL_ENV": str(folder)}
    make = ["venv", "--quiet", "--allow-existing", "--python", python, str(folder)]
    install = ["pip", "install", "--quiet", "--resolution", resolution, "-e", f"{ROOT}[test]"]
    for command in (make, install):
        if subprocess.run([options.uv, *command], env=inside).returncode:
            return f"{python} {resolution}: no environment, uv {command[0]} failed", False
    # What one version of a dependency warns of in another is not ours to mend.
    lenient = ["-o", "filterwarnings=default"]
    run = [str(folder / "bin" / "python"), "-m", "pytest", *lenient, *tests]
    print(f"{python} {resolution}: {' '.join(run)}", file=sys.stderr, flush=True)
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w") as out:
        code = subprocess.run(run, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT).returncode
    said = log.read_text().strip().splitlines()
    ended = said[-1].strip("= ") if said else "said nothing"
    return f"{python} {resolution} ({_versions(options.uv, inside)}): {ended}; {log}", code == 0


def _versions(uv: str, inside: dict[str, str]) -> str:
    command = [uv, "pip", "freeze"]
    frozen = subprocess.run(command, env=inside, capture_output=True, text=True, check=True).stdout
    held = dict(re.findall(r"^([\w-]+)==(\S+)$", frozen, re.MULTILINE))
    return ", ".join(f"{name} {held[name]}" for name in SHOWN if name in held)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pythons", nargs="+", help="versions, as uv takes them")
    parser.add_argument("--resolution", action="append", choices=RESOLUTIONS, help="both")
    parser.add_argument("--folder", type=Path, default=ROOT / "logs" / "versions", help="kept")
    parser.add_argument("--uv", default="uv", help="the program")
    return parser


if __name__ == "__main__":
    sys.exit(main())
