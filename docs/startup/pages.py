"""What every page begins with: warnings are errors, and a command that fails ends the page."""

import subprocess
import warnings

from IPython.core.magic import register_cell_magic

warnings.filterwarnings("error", category=UserWarning)


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Run commands, print what they print, and fail where one of them fails."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", cell], capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(done.stderr)
