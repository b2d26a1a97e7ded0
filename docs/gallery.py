"""Draws the images of the gallery and of the README with today's code, in the folder of the repository.

    trilemma quickstart --out runs/quickstart
    trilemma study docs/price.toml --out runs/price
    python docs/gallery.py runs/quickstart runs/price

The screenshot needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import shutil
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
    "roc": "gallery-roc.png",
}
"""Where the image of each figure lies; those of other figures are from studies of more than a quickstart."""
SCREEN = (1280, 800)


PRICE = {"price": "gallery-price.png"}
"""That of the study of privacy's price."""


def draw(folder: Path, images: dict[str, str]) -> None:
    """Draw the images of a study.

    Args:
      folder: of the study, with its runs.
      images: where the image of each figure goes, from the folder of the docs.
    """
    results, study = read_results(folder), read_json(folder / "study.json")
    with tempfile.TemporaryDirectory() as name:
        drawn = Path(name)
        for stem, image in images.items():
            if stem == "roc":
                signals = {path.parent.name: path for path in folder.glob("runs/*/signals.parquet")}
                panels = roc_panels(Numbers(results, study), signals)
                save_panels(panels, attack_looks(panels), drawn, stem)
            else:
                save_figure(draw_numbers(stem, results, study), drawn, stem)
            shutil.copyfile(drawn / f"{stem}.png", DOCS / image)


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the images of the gallery and of the README again.")
    parser.add_argument("quickstart", type=Path, help="the folder of a quickstart, with its page")
    parser.add_argument("price", type=Path, help="the folder of the study docs/price.toml")
    options = parser.parse_args()
    draw(options.quickstart, IMAGES)
    draw(options.price, PRICE)
    first_screen(options.quickstart / "report.html", DOCS / "results" / "quickstart-page.png")


if __name__ == "__main__":
    main()
