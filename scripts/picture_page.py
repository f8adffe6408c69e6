"""Take docs/demo.png: the page of `brule serve` with a rendered face, as headless Chromium shows it.

    PYTHONPATH=src python scripts/picture_page.py [--model models/detector.safetensors] [--sample 3] [--out FILE]

It needs a detector of faces and the GAN beside it, chromium, chromedriver, and selenium from the extra `dev`.
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
from brule.app import detecting, samples, server
from brule.app.page import Page
from brule.detector.gan import Gan
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.terminal import main

SIZE = (1200, 1500)  # large enough for all of it: Chromium draws what is out of view in fewer colours
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync")
HOVERED = 54  # of 68: the left corner of the mouth


def address(model: Path) -> str:
    """Serves the page of a detector and the GAN beside it while this program runs; its address."""
    detector = Detector.load(model)
    gan = Gan.load(model.with_name("gan.safetensors"), detector=(len(detector.scheme.names), detector.image_size))
    page = Page(detector, gan, list(samples.rendered(detector)))
    listening = server.bind(0)
    threading.Thread(target=server.serve, args=(detecting.application(page), listening), daemon=True).start()
    return f"{server.address(listening)}/"


def picture(url: str, sample: int, folder: str) -> bytes:
    """The whole page as a PNG, once everything on it is drawn."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):  # selenium would download them
        raise BruleError("chromium and chromedriver are not on the PATH; install them")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}", f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(flag)
    with Chrome(options=options, service=Service(driver)) as browser:
        wait = WebDriverWait(browser, 60, 0.1)
        browser.get(url)
        wait.until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, "#samples img")) > sample)
        browser.find_elements(By.CSS_SELECTOR, "#samples button")[sample].click()
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
    parser.add_argument("--sample", type=int, default=3, help="which sample to show, from 0; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"), help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files.write_bytes(args.out, picture(address(args.model), args.sample, folder))
    print(args.out)


if __name__ == "__main__":
    main(run)
