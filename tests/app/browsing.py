"""A real browser for the tests of the pages."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium", reason="selenium is not installed; pip install -e '.[dev]'")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
needed = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and its chromedriver are not installed")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--no-proxy-server"),
)


class Visitor:
    """What a person does on a page, and what they see there."""

    def __init__(self, browser: Chrome, address: str, ready: str) -> None:
        """ready: what the page shows when it can be used."""
        self.browser = browser
        browser.get(address)
        self.until(lambda: self.all(ready))

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def until(self, condition: Any) -> Any:
        return WebDriverWait(self.browser, 20, 0.05).until(lambda _: condition())

    def shows(self, selector: str, words: str) -> None:
        self.until(lambda: words in self.one(selector).text)


@contextmanager
def browser(profile: Path, downloads: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options=options, service=Service(str(DRIVER))) as started:
        yield started


@contextmanager
def watched(browser: Chrome, address: str, expected: str) -> Iterator[None]:
    """Afterwards: no error in the console but the `expected` ones, and no request to anybody but the page's server."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what an earlier page said
    yield
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    places = {urlsplit(url)[:2] for url in asked if not url.startswith(("data:", "blob:", "chrome:"))}
    assert places == {urlsplit(address)[:2]}
    assert not [entry for entry in browser.get_log("browser") if expected not in entry["message"]]
