"""The page of `qdnet-keras app` in headless Chromium, and who may fetch which file."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from typer.testing import CliRunner

import qdnet_keras
from qdnet_keras.cli import app
from qdnet_keras.outcomes import Enhanced
from qdnet_keras.photos.files import read_photo

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
SECONDS = 300
MEGABYTES = 1
SAMPLES = Path(qdnet_keras.__file__).parent / "samples"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page that the command shows."""
    command = [sys.executable, "-m", "qdnet_keras", "app", "--json", "--port", "0"]
    command += ["--max-upload", str(MEGABYTES)]
    temporary = tmp_path_factory.mktemp("temporary")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    assert not list(temporary.iterdir())


@pytest.fixture(scope="module")
def driver(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, which saves downloads in `driver.downloads`."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("no chromium and chromedriver on PATH; apt-get install chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    chromium.downloads = tmp_path_factory.mktemp("downloads")
    chromium.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(chromium.downloads)},
    )
    yield chromium
    chromium.quit()


class Window:
    """The page as a person sees it."""

    def __init__(self, driver: Any, url: str):
        self.driver = driver
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 1440, "height": 950, "deviceScaleFactor": 1, "mobile": False},
        )
        driver.get(url)
        self.until(lambda: self.all(".samples .all"), "the page")

    def until(self, true: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not appear; the page says: {self.text('body')}")

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return self.driver.execute_script(script, selector)

    def add(self, *files: Path) -> None:
        """Drops files; returns when the first that can be used was scored and rendered."""
        (entry,) = self.until(lambda: self.all("#drop input[type=file]"), "where files are dropped")
        entry.send_keys("\n".join(map(str, files)))
        self.until(self.outcome, "a rendering")

    def outcome(self) -> str:
        return self.text("#outcome .status")

    def shown(self) -> list[str]:
        """Addresses of original and rendering."""
        script = "return [...document.querySelectorAll('#compare img')].map(image => image.src)"
        return self.driver.execute_script(script)

    def target(self) -> float:
        return float(self.all("#target input[type=range]")[0].get_attribute("value"))


@pytest.fixture
def window(driver: Any, url: str) -> Window:
    return Window(driver, url)


@pytest.fixture(scope="module")
def model() -> Any:
    return qdnet_keras.load()


@pytest.fixture
def dull(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundled photograph that can be made better: `dull("a.jpg")` → its path."""

    def write(name: str, **options: object) -> Path:
        Image.open(SAMPLES / "dog_bilateral.jpg").save(tmp_path / name, **options)
        return tmp_path / name

    return write


def fetch(address: str, driver: Any = None) -> bytes:
    """What an address gives, to the visitor of a browser or to a stranger."""
    request = urllib.request.Request(address)
    if driver is not None:
        (cookie,) = driver.get_cookies()
        request.add_header("Cookie", f"{cookie['name']}={cookie['value']}")
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def file_of(address: str) -> Path:
    """Where the server keeps what it gives out at an address."""
    return Path(address.partition("/file=")[2])


def test_a_photograph_gets_its_score_and_a_rendering(window, dull, model):
    file = dull("summer.jpg")
    window.add(file)
    score = qdnet_keras.score(file, model)
    assert window.text("#score") == f"{score.score:.0f}"
    assert window.text("#mos") == f"{score.mos:.0f}"
    assert window.text("#interval") == "{:.0f} and {:.0f}".format(*score.interval)
    assert bool(window.all("#novelty")) is not score.familiar

    window.until(lambda: len(set(window.shown())) == 2, "original beside rendering")
    original, rendering = (fetch(address, window.driver) for address in window.shown())
    enhanced = qdnet_keras.enhance(file, window.target(), model)
    assert 4 * _distance(rendering, enhanced.pixels) < _distance(original, enhanced.pixels)
    # of a copy, and a whole number: the file's own stands there when it is downloaded
    assert float(window.text("#after")) == pytest.approx(enhanced.score_after, abs=1)


def _distance(data: bytes, pixels: np.ndarray) -> float:
    """Mean difference of a picture from pixels, in levels."""
    return float(np.abs(read_photo(data).srgb.astype(float) - pixels).mean())


def test_the_slider_renders_anew_by_keys(window, photo):
    from selenium.webdriver.common.keys import Keys

    window.add(photo("summer.jpg"))
    before, first = window.target(), window.shown()[1]
    slider = window.all("#target input[type=range]")[0]
    slider.send_keys(Keys.ARROW_LEFT * 3)
    assert window.target() == before - 3
    window.until(lambda: window.shown()[1] != first, "another rendering")
    assert window.shown()[1].endswith(f"/{before - 3:g}.jpg")


def test_the_divider_moves_by_mouse_and_keys(window, photo):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    window.add(photo("summer.jpg"))
    (divider,) = window.all("#compare [data-testid=slider]")
    start = divider.rect["x"]
    ActionChains(window.driver).click_and_hold(divider).move_by_offset(80, 0).release().perform()
    dragged = divider.rect["x"]
    assert dragged - start == pytest.approx(80, abs=8)
    divider.send_keys(Keys.ARROW_LEFT)
    assert divider.rect["x"] < dragged


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_the_download_is_what_enhance_saves(window, dull, model, tmp_path, suffix):
    exif = Image.Exif()
    exif[315] = "A photographer"
    file = dull(f"kept{suffix}", exif=exif)
    window.add(file)
    target = window.target()
    window.all("#download")[0].click()
    saved = window.driver.downloads / f"kept_{target:g}{suffix}"
    window.until(saved.exists, saved.name)
    expected = tmp_path / saved.name
    enhanced = qdnet_keras.enhance(file, target, model)
    assert enhanced.score_after > enhanced.score_before
    enhanced.save(expected)
    assert saved.read_bytes() == expected.read_bytes()
    assert Image.open(saved).getexif()[315] == "A photographer"
    window.until(lambda: saved.name in window.outcome(), "what was saved")


def test_recipe_and_colour_table_are_those_of_the_rendering(window, dull, model):
    file = dull("frame.png")
    window.add(file)
    target = window.target()
    enhanced = qdnet_keras.enhance(file, target, model)
    for button, name in zip(window.all("#others button"), ("json", "cube"), strict=True):
        button.click()
        saved = window.driver.downloads / f"frame_{target:g}.{name}"
        window.until(saved.exists, saved.name)
    recipe = qdnet_keras.Recipe.load(window.driver.downloads / f"frame_{target:g}.json")
    assert np.array_equal(qdnet_keras.apply(file, recipe).pixels, enhanced.pixels)
    assert "LUT_3D_SIZE 33" in saved.read_text()


def test_files_that_cannot_be_used_are_told_in_a_sentence_and_the_others_are_scored(
    window, photo, tmp_path
):
    good = photo("good.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:500])
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    large = tmp_path / "large.png"
    large.write_bytes(os.urandom(MEGABYTES * 2**20 + 1))
    window.add(text, cut, large, good)
    assert window.text(".card .file") == "good.png"
    assert "notes.txt is not a PNG" in window.text("#status")
    assert "cut.png" in window.text("#status")
    assert len(window.all("#status li")) == 2
    assert window.text("#too-large") == "large.png has 2 MB; at most 1 MB can be added here."
    assert not window.all(".toast-body")


def test_reasons_are_those_of_explain(window, photo, model):
    file = photo("summer.jpg", size=(120, 80))
    window.add(file)
    window.all("#why")[0].click()
    window.until(lambda: window.all(".reasons"), "the reasons")
    effects = qdnet_keras.explain(file, model).effects
    helpful = [effect.best.edit for effect in effects if effect.best.gain > 0][:5]
    assert [element.text for element in window.all(".reasons li span")] == helpful
    assert len(window.all(".regions i")) == 36


def test_the_gallery_ranks_sorts_and_opens(window, photo, model):
    files = [photo(f"{name}.jpg", seed=seed) for seed, name in enumerate("cab")]
    window.add(*files)
    window.all("button[role=tab]")[1].click()

    def names() -> list[str]:
        return [element.text for element in window.all(".ranking .open")]

    ranked = sorted(files, key=lambda file: -qdnet_keras.score(file, model).score)
    assert window.until(names, "the table") == [file.name for file in ranked]
    window.all(".ranking th button")[0].click()
    assert names() == ["a.jpg", "b.jpg", "c.jpg"]
    window.all(".ranking .open")[1].click()
    window.until(lambda: window.text(".card .file") == "b.jpg", "the photograph chosen")


def test_files_are_their_visitors_and_go_with_the_page(window, url, photo):
    from selenium.webdriver.common.keys import Keys

    window.add(photo("mine.jpg"))
    for address in window.shown():
        assert fetch(address, window.driver)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(address)
    for elsewhere in ("/etc/passwd", "https://example.com/a.png", str(Path(__file__))):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{url}/gradio_api/file={elsewhere}", window.driver)

    file = file_of(window.shown()[0])
    assert file.is_file()
    root = file.parents[5]
    window.all("#target input[type=range]")[0].send_keys(Keys.ARROW_LEFT)  # renders meanwhile
    window.driver.get("about:blank")
    window.until(lambda: not file.exists(), "the removal")
    window.until(lambda: not _contents(root), "the end of the removal")


class Visitor:
    """Somebody whose own program talks to the page as the page's scripts do."""

    def __init__(self, url: str):
        self.url, self.page = url, secrets.token_hex(5)
        jar = urllib.request.HTTPCookieProcessor()
        self.open = urllib.request.build_opener(jar).open
        self.open(url).close()
        with self.open(f"{url}/config") as answer:
            self.config = json.load(answer)
        self.does("load")

    def does(self, event: str, *data: Any, on: str | None = None) -> dict[str, Any]:
        """What the page answers to an event of what has the id `on`."""
        ids = {part["props"].get("elem_id"): part["id"] for part in self.config["components"]}
        target = None if on is None else ids[on]
        number, inputs = next(
            (known["id"], known["inputs"])
            for known in self.config["dependencies"]
            for place, name in known["targets"]
            if name == event and target in (None, place)
        )
        values = [*data, *[None] * (len(inputs) - len(data))]
        body = {"fn_index": number, "data": values, "session_hash": self.page}
        self.posts("queue/join", json.dumps(body).encode(), "application/json")
        with self.open(f"{self.url}/gradio_api/queue/data?session_hash={self.page}") as answers:
            for line in answers:
                if b'"process_completed"' in line:
                    return json.loads(line.partition(b"data:")[2])
        raise AssertionError("no answer")

    def sends(self, file: Path) -> list[dict[str, Any]]:
        """Uploads a file; gives what names it in a request."""
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{file.name}"'
        body = head.encode() + b"\r\n\r\n" + file.read_bytes() + b"\r\n--x--\r\n"
        paths = self.posts("upload", body, "multipart/form-data; boundary=x")
        return [named(path) for path in paths]

    def posts(self, route: str, body: bytes, kind: str) -> Any:
        address = f"{self.url}/gradio_api/{route}"
        request = urllib.request.Request(address, body, {"Content-Type": kind})
        with self.open(request) as answer:
            return json.load(answer)


def named(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_two_visitors_add_the_same_photograph_at_once(url, photo):
    one, other = Visitor(url), Visitor(url)
    sent = [visitor.sends(photo("same.jpg")) for visitor in (one, other)]
    assert sent[0] != sent[1]
    for visitor, files in zip((one, other), sent, strict=True):
        assert "same.jpg" in json.dumps(visitor.does("upload", files, on="drop"))


def test_what_another_visitor_has_sent_is_not_added(url, photo):
    one, other = Visitor(url), Visitor(url)
    files = one.sends(photo("mine.jpg"))
    assert "mine.jpg" not in json.dumps(other.does("upload", files, on="drop"))
    assert "mine.jpg" in json.dumps(one.does("upload", files, on="drop"))


def test_a_request_cannot_have_an_address_fetched(url):
    visitor, address = Visitor(url), named("https://example.com/a.jpg")
    for answer in (
        visitor.does("upload", [address], on="drop"),
        visitor.does("release", None, None, address, on="target"),
    ):
        assert not answer["success"]
        assert answer["output"]["error"] == "Photographs are sent, not fetched."


def test_only_who_has_a_cookie_can_send(url, photo):
    stranger = Visitor(url)
    stranger.open = urllib.request.urlopen
    with pytest.raises(urllib.error.HTTPError, match="403"):
        stranger.sends(photo("a.jpg"))


def _contents(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def test_what_became_of_a_target_is_said_as_it_is():
    from qdnet_keras.app.cards import outcome

    pixels = np.zeros((32, 32, 3), np.uint8)
    reached = outcome(Enhanced(pixels, 60.0, 40.0, 60.4, 0.5, True))
    assert "20 more" in reached and "out of reach" not in reached
    assert "8 less" in outcome(Enhanced(pixels, 32.0, 40.0, 32.0, 0.5, True))
    assert "60 is out of reach" in outcome(Enhanced(pixels, 60.0, 40.0, 51.0, 0.5, False))
    assert "out of reach" in outcome(Enhanced(pixels, 60.0, 40.0, 40.0, 0.0, False))
    assert "scores that already" in outcome(Enhanced(pixels, 40.0, 40.0, 40.0, 0.0, True))


def test_it_fits_a_phone(window, photo):
    window.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    window.add(photo("a_photograph_with_a_rather_long_name.jpg"), photo("b.jpg", seed=1))
    for tab in window.all("button[role=tab]"):
        tab.click()
        assert window.driver.execute_script("return document.documentElement.scrollWidth") == 390


def test_nothing_is_fetched_from_elsewhere_and_only_this_machine_is_listened_to(window, url, photo):
    window.add(photo("summer.jpg"))
    events = [
        json.loads(entry["message"])["message"] for entry in window.driver.get_log("performance")
    ]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [address for address in asked if address.startswith(url)]
    assert not [
        address for address in asked if not address.startswith((url, "data:", "blob:", "about:"))
    ]

    port = int(url.rpartition(":")[2])
    ours = [
        c for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"
    ]
    assert [connection.laddr.ip for connection in ours] == ["127.0.0.1"]
    server = psutil.Process(ours[0].pid)
    assert all(c.raddr.ip == "127.0.0.1" for c in server.net_connections("tcp") if c.raddr)


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["app"])
    assert result.exit_code == 9
    assert "pip install 'qdnet-keras[app]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_told_in_a_sentence(url):
    port = url.rpartition(":")[2]
    result = CliRunner().invoke(app, ["app", "--port", port])
    assert result.exit_code == 8
    assert result.stderr.startswith(f"error: The page cannot be shown at 127.0.0.1:{port}")
    assert len(result.stderr.splitlines()) == 1
