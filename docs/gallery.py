"""Draws the images of the gallery and of the README from the folder of a quickstart, with today's code.

    trilemma quickstart --out runs/quickstart
    python docs/gallery.py runs/quickstart        # in the folder of the repository

The screenshot needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from trilemma.analysis.results import read_results
from trilemma.files import read_json
from trilemma.report.drawing import save_figure
from trilemma.report.figures.catalog import draw_numbers
from trilemma.report.numbers import Numbers
from trilemma.report.study_roc import attack_looks, roc_panels, save_panels

DOCS = Path(__file__).parent
IMAGES = {
    "tradeoff": "results/quickstart.png",
    "leakage": "gallery-leakage.png",
    "score": "gallery-score.png",
    "ceiling": "gallery-ceiling.png",
    "groups": "gallery-groups.png",
    "price": "gallery-price.png",
    "roc": "gallery-roc.png",
}
"""Where the image of each figure lies; those of other figures are from studies of more than a quickstart."""
SCREEN = (1280, 800)


def draw(folder: Path) -> None:
    """Draw all of them.

    Args:
      folder: of a quickstart, with its runs.
    """
    results, study = read_results(folder), read_json(folder / "study.json")
    with tempfile.TemporaryDirectory() as name:
        drawn = Path(name)
        for stem in IMAGES:
            if stem == "roc":
                signals = {path.parent.name: path for path in folder.glob("runs/*/signals.parquet")}
                panels = roc_panels(Numbers(results, study), signals)
                save_panels(panels, attack_looks(panels), drawn, stem)
            else:
                save_figure(draw_numbers(stem, results, study), drawn, stem)
            shutil.copyfile(drawn / f"{stem}.png", DOCS / IMAGES[stem])


def first_screen(page: Path, image: Path) -> None:
    """The first screen of a page as a browser shows it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    try:
        width, height = SCREEN
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.resolve().as_uri())
        driver.save_screenshot(str(image))
    finally:
        driver.quit()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
    first_screen(Path(sys.argv[1]) / "report.html", DOCS / "results" / "quickstart-page.png")
