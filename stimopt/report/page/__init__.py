"""A folder that opens in a browser: a table of all cells, and a player of each cell's optima.

    index.html, page.css, *.js       the same for all results
    data/index.js                    the table
    data/0000-small.js               pictures of one cell in the table, loaded when it is in view
    data/0000.js                     stimuli and responses of one cell, loaded when it is opened
    data/0000-0.png                  figures added to a cell

The page loads nothing from a server. Names from results are text; files are numbered.
"""

from stimopt.report.page.evidence import CHECKED, EXPLAINED, evidence
from stimopt.report.page.items import PageItem, Panel
from stimopt.report.page.writing import Addition, Section, Table, write_page

__all__ = [
    "CHECKED",
    "EXPLAINED",
    "Addition",
    "PageItem",
    "Panel",
    "Section",
    "Table",
    "evidence",
    "write_page",
]
