"""Settings of the documentation: Sphinx with MyST pages and the API reference from the docstrings."""

import sys
from pathlib import Path

from stackone_lms import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "stackone-lms"
author = "The stackone-lms authors"
copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "operations", "program"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # `list` is a builtin and the name of nine methods

default_role = "code"  # docstrings write names in single backticks

html_theme = "furo"
html_title = f"stackone-lms {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
