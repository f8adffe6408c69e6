"""Take docs/demo.png: the page of `brule demo` with a rendered face, as headless Chromium shows it.

    PYTHONPATH=src python scripts/picture_page.py [--model models/detector.safetensors] [--face 3] [--out docs/demo.png]

For detectors of faces from the default run. Needs chromium and chromedriver, and selenium of the extra `dev`.
"""

import argparse
import base64
import shutil
import tempfile
import threading
from pathlib import Path

from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from brule import files
from brule.app import loopback, samples
from brule.app.answering import Guide
from brule.app.page_server import application
from brule.app.painting import Painter
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.terminal import main

SIZE = (1200, 1500)  # all in view: Chromium draws what is not in fewer colours
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync")
HOVERED = 54  # of 68: the left corner of the mouth


def address(model: Path) -> str:
    """Where the page of a detector and the GAN beside it answers, as long as this program runs."""
    detector = Detector.load(model)
    painter = Painter.load(model.with_name("gan.safetensors"), detector)
    guide = Guide(detector, painter, list(samples.rendered(detector)))
    listening = loopback.bind(0)
    threading.Thread(target=loopback.serve, args=(application(guide), listening), daemon=True).start()
    return f"{loopback.address(listening)}/"


def picture(url: str, face: int, folder: str) -> bytes:
    """The whole page, PNG, once everything on it is drawn."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):  # selenium would fetch some from elsewhere
        raise BruleError("chromium and chromedriver are not on the PATH; install them")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}", f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(flag)
    with Chrome(options=options, service=Service(driver)) as browser:
        wait = WebDriverWait(browser, 60, 0.1)
        browser.get(url)
        wait.until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, "#samples img")) > face)
        browser.find_elements(By.CSS_SELECTOR, "#samples button")[face].click()
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#drawn image"))
        spots = browser.find_elements(By.CSS_SELECTOR, "#view .spot")
        ActionChains(browser).move_to_element(spots[min(HOVERED, len(spots) - 1)]).perform()
        size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        taken = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        )
        return base64.b64decode(taken["data"])


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/detector.safetensors"), help="default: %(default)s")
    parser.add_argument("--face", type=int, default=3, help="which of the samples, from 0; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"), help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files.write_bytes(args.out, picture(address(args.model), args.face, folder))
    print(args.out)


if __name__ == "__main__":
    main(run)
