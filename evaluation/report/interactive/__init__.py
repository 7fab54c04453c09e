"""The report's figures as Plotly takes them: the same content as the pictures, to hover, zoom and switch policies.

`build(comparison, texts)` makes those of one scenario. `evaluate.py` writes them to `figures.json` beside the report,
where the explorer reads them; `curves(run_dirs, texts)` makes the learning curves of runs.
"""

from evaluation.report.interactive.figures import Drawn, build
from evaluation.report.interactive.learning import curves

__all__ = ["Drawn", "build", "curves"]
