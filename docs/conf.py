"""How Sphinx builds the documentation; scripts/docs.sh runs it."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import stimopt

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "generated"
ROOMS = {
    "networks": "Networks",
    "protocol": "Protocol, lattice and items",
    "lattice": "Protocol, lattice and items",
    "items": "Protocol, lattice and items",
    "movies": "Movies",
    "search": "Searches and fits",
    "optimize": "Searches and fits",
    "runs": "Searches and fits",
    "results": "Results",
    "analysis": "Analysis",
    "plotting": "Pictures and pages",
    "report": "Pictures and pages",
}
"""Sections of the reference, by the folder or file a name comes from; others get their own."""
sys.path.insert(0, str(DOCS))

from percent import notebook_of  # noqa: E402  (beside this file)

project = "stimopt"
author = copyright = "The stimopt developers"
version = release = stimopt.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nitpicky = True

# -- pages ----------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = True  # with a warning, which -W makes an error
nb_execution_timeout = 600
# Progress bars; docs/startup/ makes a warning an error.
nb_output_stderr = "remove"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# -- docstrings -----------------------------------------------------------------------------------

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them, as they were written
autodoc_type_aliases: dict[str, str] = {}
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Types of torch and Lightning have no pages here.
nitpick_ignore_regex = [("py:.*", ".*")]

# -- looks ----------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "stimopt"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"


def write_generated_pages() -> None:
    """Make pages of the walkthrough and of what was measured, so that each has one source."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    (GENERATED / "benchmarks").mkdir(parents=True)
    shutil.copytree(DOCS / "startup", GENERATED / "ipython" / "profile_default" / "startup")
    script = (ROOT / "scripts" / "walkthrough.py").read_text(encoding="utf-8")
    (GENERATED / "walkthrough.ipynb").write_text(notebook_of(script), encoding="utf-8")
    for page in (ROOT / "benchmarks").glob("*.md"):
        shutil.copy(page, GENERATED / "benchmarks")
    (GENERATED / "reference.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """A page with an entry for every public name, by the room it comes from."""
    sections: dict[str, list[str]] = {title: [] for title in ROOMS.values()}
    for name in (name for name in stimopt.__all__ if name != "__version__"):
        room = stimopt._HOMES[name].partition(".")[0]
        value = getattr(stimopt, name)
        ours = getattr(value, "__module__", "stimopt").startswith("stimopt")
        if inspect.isclass(value):
            entry = f".. autoclass:: stimopt.{name}\n" + ("   :members:\n" if ours else "")
        elif callable(value):
            entry = f".. autofunction:: stimopt.{name}\n"
        else:
            entry = f".. autodata:: stimopt.{name}\n"
        sections.setdefault(ROOMS.get(room, room), []).append(entry)
    lines = ["# Reference", "", "The names that `import stimopt` offers, with their docstrings."]
    for title, entries in sections.items():
        if entries:
            lines += ["", f"## {title}", "", "```{eval-rst}", *entries, "```"]
    return "\n".join(lines) + "\n"


def plain_docstring(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keep |x| and x* of formulas from being read as marks of reStructuredText."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[i] = "".join(
            part if part.startswith("`") else re.sub(r"(?<!\\)([|*])", r"\\\1", part)
            for part in parts
        )


def inline_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula as MathML, which browsers draw without a script from another server."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block_math(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on lines of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect what this file defines."""
    write_generated_pages()
    os.environ["IPYTHONDIR"] = str(GENERATED / "ipython")
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", plain_docstring, priority=100)
