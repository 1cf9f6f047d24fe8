"""Scripts in percent format, which editors show as cells, as notebooks."""

from __future__ import annotations

import re

import nbformat


def notebook_of(script: str) -> str:
    """The notebook, as JSON, of a script whose cells begin with `# %%`; its header is left out."""
    parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
    make = nbformat.v4
    cells = [
        make.new_markdown_cell(re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip())
        if "[markdown]" in kind
        else make.new_code_cell(text.strip())
        for kind, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(make.new_notebook(cells=cells, metadata={"kernelspec": kernel}))
