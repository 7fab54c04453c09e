"""How Sphinx makes the site of these pages: `make docs`. Nothing in it asks a network, when built or when read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]
# Kernels of the notebooks, too, import what lies here, and not what is installed.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from site_parts import accessible, docstrings, math, mermaid, outside  # noqa: E402 - beside this file

from wdmoe_env.version import __version__  # noqa: E402

project = "WDMoE Gym"
author = "The WDMoE Gym developers"
copyright = f"2026, {author}. Apache-2.0"
version = release = __version__

repository = os.environ.get("WDMOE_REPOSITORY", "")
"""Address of the repository, such as https://github.com/OWNER/NAME. Links to files outside of this folder lead there;
without it, to copies that come with the site."""
branch = os.environ.get("WDMOE_BRANCH", "main")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["site_parts", "**.ipynb_checkpoints"]
default_role = "code"
smartquotes = False  # options begin with two hyphens

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_links_external_new_tab = False
nb_execution_mode = "force"
nb_execution_excludepatterns = [
    f"notebooks/{path.name}"
    for path in sorted(DOCS.glob("notebooks/*.ipynb"))
    if path.stem not in os.environ.get("WDMOE_NOTEBOOKS", path.stem).split(",")
]
"""Not run: those that WDMOE_NOTEBOOKS, where it is set, does not name."""
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "WDMoE Gym"
html_math_renderer = math.NAME
html_static_path = ["site_parts/static"]
html_favicon = "site_parts/static/icon.svg"
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
source = {"source_repository": repository, "source_branch": branch, "source_directory": "docs/"}
html_theme_options = source if repository else {}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Any) -> dict[str, bool]:
    """Add what is not in the extensions."""
    outside.setup(app, ROOT, DOCS, repository and f"{repository}/blob/{branch}")
    mermaid.setup(app)
    math.setup(app)
    docstrings.setup(app)
    accessible.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
