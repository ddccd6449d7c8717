"""The report of a comparison: from its folder to one HTML file. Knows both ends; figures, pictures and the page are
made by ``report_data``, ``report_figures`` and ``report_page``.
"""

from pathlib import Path

from toolgen.benchmarks.report_data import Progress, Report, make_report
from toolgen.benchmarks.report_page import render
from toolgen.benchmarks.results import read_results
from toolgen.errors import InputError
from toolgen.files import replacing


def write_report(folder: Path, output: Path, browsed: int = 3000, progress: Progress | None = None) -> Report:
    """Write the page; returns its figures.

    Args:
        folder: What ``toolgen compare`` wrote; unfinished cells may be missing.
        output: The page. The same results give the same bytes.
        browsed: The most queries in the error browser; more are thinned out evenly.
        progress: Called with the number of done and of all steps.

    Raises:
        InputError: ``folder`` is not that of a comparison, has no finished cell or a broken one; or ``output`` is a
            folder.
    """
    if output.is_dir():
        raise InputError(f"{output} is a folder. Give --out the name of a file, such as {output / 'report.html'}.")
    report = make_report(read_results(folder), progress)
    page = render(report, browsed)
    with replacing(output) as temporary:
        # The page's policy knows its scripts by their bytes, so no system may change the ends of lines.
        temporary.write_bytes(page.encode())
    return report
