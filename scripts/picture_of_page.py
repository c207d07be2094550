"""Writes docs/app.jpg: what `qdnet-keras app` shows of the bundled photographs.

    python scripts/picture_of_page.py

Needs the extras [app] and [dev], and chromium and chromedriver on PATH.
"""

import base64
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from qdnet_keras.cli.output import run_script

PAGE = Path(__file__).resolve().parents[1] / "docs" / "app.jpg"
SIZE = (1280, 1000)  # pixels
SHOWN = 6  # of the bundled photographs in order of name
SECONDS = 600


def main() -> None:
    """Writes docs/app.jpg."""
    command = [sys.executable, "-m", "qdnet_keras", "app", "--json", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.binary_location = shutil.which("chromium") or ""
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(json.loads(server.stdout.readline())["url"])
        PAGE.write_bytes(_picture(browser))
    finally:
        browser.quit()
        server.terminate()
        server.wait()


def _picture(browser: webdriver.Chrome) -> bytes:
    wait = WebDriverWait(browser, SECONDS)

    def click(selector: str, index: int = 0) -> None:
        wait.until(lambda _: browser.find_elements("css selector", selector))[index].click()

    def text(selector: str) -> str:
        found = browser.find_elements("css selector", selector)
        return found[0].text if found else ""

    size = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    click(".samples .all")
    wait.until(lambda _: text("#outcome .status"))
    first = text(".card .file")
    click(".filmstrip button", SHOWN)
    wait.until(lambda _: text(".card .file") not in ("", first) and text("#after"))
    browser.execute_script("window.scrollTo(0, 0)")
    time.sleep(2)  # for pictures to load and waiting signs to fade
    png = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue()


if __name__ == "__main__":
    run_script(main)
