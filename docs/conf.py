"""Sphinx settings. Build with warnings as errors: `python -m sphinx -W -b html docs docs/_build/html`."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import lmikit  # noqa: E402

project = "lmikit"
author = "the lmikit authors"
copyright = f"{author}, Apache-2.0"
release = version = lmikit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "plain_docstrings"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "README.md"]

# Backends that a reader of the pages need not have.
autodoc_mock_imports = ["cupy"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
smartquotes = False  # phi'' is a derivative

html_theme = "furo"
html_title = f"lmikit {release}"
html_static_path = ["_static"]
html_css_files = ["lmikit.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
