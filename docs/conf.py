"""Sphinx's settings. The pages come from docs/tree.py; scripts/docs.sh runs both."""

import re
from pathlib import Path

_SETUP = (Path(__file__).resolve().parents[1] / "setup.py").read_text(encoding="utf-8")

project = "rxf"
author = "the authors of rxf"
version = release = re.findall(r'^    version="(.+)",$', _SETUP, flags=re.MULTILINE)[0]

extensions = ["myst_parser"]
root_doc = "docs/index"
# The anchors that GitHub gives to headings; links to a heading are checked against them.
myst_heading_anchors = 4
# Indented blocks are formulas and shell words, not Python.
highlight_language = "none"
nitpicky = True

html_theme = "furo"
html_title = f"rxf {release}"
html_show_copyright = False
html_show_sourcelink = False
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["style.css"]
