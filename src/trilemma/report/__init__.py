"""What people look at: figures with intervals, tables, and the one page that says what was measured and what it means.

Nothing here trains; everything is drawn from a study's table of results.
"""

from trilemma.report.figures.catalog import FIGURES, check_figures, draw_numbers
from trilemma.report.write import write_report

__all__ = ["FIGURES", "check_figures", "draw_numbers", "write_report"]
