"""`make soak`, its last part: the server's page in headless Chromium, by keyboard and mouse.

    python -m tests.soak.page [--workdir=DIR --user=ID --title=TEXT --pictures=DIR]

Without --workdir a small run is trained whose ids and titles are what a page must not run. Needs
Chromium with its driver, and selenium in some Python (--python=PATH, or in this one); where one is
missing it says so and ends well. With --pictures it keeps one of each width and colour scheme.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTHS = {1280: 1240, 400: 1300}
SCHEMES = ("light", "dark")
EVIL = "<img src=x onerror=document.title='run'>"


def make_workdir(folder):
    """Trains on a log whose ids and titles are HTML."""
    from tests.helpers.runs import LIGHT, TINY, run

    log, titles = folder / "log.csv", folder / "titles.csv"
    rows = [f"u{u}{EVIL},i{(u * 3 + n * 7) % 13}{EVIL}" for u in range(20) for n in range(6)]
    log.write_text("\n".join(["user,item", *rows]) + "\n", encoding="utf-8")
    names = [f"i{n}{EVIL},Title {n} {EVIL}" for n in range(13)]
    titles.write_text("\n".join(["item_id,title", *names]) + "\n", encoding="utf-8")
    workdir = folder / "run"
    arguments = (*TINY, *LIGHT, "--config.training.num_epochs=2")
    assert not run(
        f"--data={log}", f"--config.data.titles={titles}", f"--workdir={workdir}", *arguments
    )
    return workdir


def start_browser(width, height, scheme):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    return browser


def until(is_so, seconds=20):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


class Page:
    """What a person does with the page, and sees."""

    def __init__(self, browser, url, width):
        self.browser = browser
        self.width = width  # of the window: a mobile browser widens it to what it shows
        browser.get(url)
        until(lambda: "version" in self.text("model"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def texts(self, selector):
        """Texts as they stand at one moment: the page replaces elements while one looks."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return self.browser.execute_script(script, selector)

    def text(self, name):
        return self.texts(f"#{name}")[0]

    def pick(self, name, query):
        """Types into a field, waits for what is found, and takes the first by keyboard."""
        field = self.all(f"#{name}")[0]
        field.click()
        field.send_keys(query)
        options = f"#{name}-options [role=option]"
        # Not what the field showed before it was typed into.
        until(lambda: query.lower() in "".join(self.texts(options)[:1]).lower())
        time.sleep(0.5)
        chosen = self.texts(options)[0]
        field.send_keys("\ue015", "\ue007")  # arrow down, Enter
        return chosen

    def names(self):
        return self.texts("#list .row .name")


def try_example(page):
    """The first example is there at once; another, what it took next, items alike, and why."""
    until(lambda: page.names())
    examples = page.all("#examples .chip")
    assert examples, "no example users"
    for example in examples:
        example.click()
        until(lambda name=example.text: name in page.text("history-note"))
        until(lambda: not page.all("#list.old") and page.names())
        assert "Held back: " in page.text("held-note")
        if page.all("#list .flag"):  # what the user took next, among the recommendations
            break
    shares = page.texts("#list .score")
    assert shares[0] == "100%" and all(share.endswith("%") for share in shares)
    before = page.names()
    for selector, heading in (
        ("[aria-label^=items]", "Items like "),
        ("[aria-label^=why]", "Why "),
    ):
        page.all(f"#list {selector}")[0].click()
        until(lambda start=heading: page.text("more-heading").startswith(start))
        yield heading.split()[0].lower()
        page.all("#more-close")[0].click()
        until(lambda: not page.all("#more[open]"))
    choice = page.all("#diversity option")[-1]
    choice.click()
    until(lambda: page.names() != before)
    page.all("#diversity option")[0].click()
    until(lambda: page.names() == before)


def try_page(page, *, user, title):
    """Picks a user, adds and excludes items; asserts what is then seen."""
    page.pick("user", user)
    until(lambda: user in page.text("history-note") and not page.all("#list.old"))
    assert user in page.text("history-note")
    assert page.all("#memory tr") or "Nothing" in page.text("memory-note")
    count = len(page.all("#history .row"))
    assert count
    before = page.names()
    chosen = page.pick("item", title)
    until(lambda: page.texts("#history .row .name")[0] == chosen)
    until(lambda: page.names() != before)
    buttons = page.all("#list button[aria-label^=exclude]")
    if buttons:
        second = page.names()[1]
        buttons[1].click()
        until(lambda: second not in page.names() and page.names())
        assert page.all("#excluded .chip")
    else:
        print("  no recommend_filtered in this export: nothing to exclude by")
    browser = page.browser
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    assert browser.title == "ufnrec-tf", "a title ran as a script"
    assert not page.all("main img")
    widths = "return [...document.querySelectorAll('html, main *')].filter((e) => "
    widths += "e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes("
    widths += "getComputedStyle(e).overflowX)).map((e) => e.id || e.className)"
    assert not browser.execute_script(widths), "something scrolls sideways"
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= page.width, f"wider than the window: {width}"
    assert not browser.get_log("browser"), "the browser has complaints"


def browse(options):
    """Tries the page in each width and colour scheme."""
    for scheme in SCHEMES:
        for width, height in WIDTHS.items():
            browser = start_browser(width, height, scheme)
            try:
                page = Page(browser, options.url, width)

                def keep(name, browser=browser, ending=f"{scheme}-{width}.png"):
                    if options.pictures:
                        browser.save_screenshot(f"{options.pictures}/serve-{name}{ending}")

                for name in try_example(page):
                    keep(f"{name}-")
                keep("example-")
                try_page(page, user=options.user, title=options.title)
                keep("")
            finally:
                browser.quit()
            print(f"  page, {scheme}, {width} pixels: as expected", flush=True)


def has_selenium(python):
    found = subprocess.run([python, "-c", "import selenium"], capture_output=True, check=False)
    return found.returncode == 0


def serve_and_browse(options, folder):
    """Serves the run from this process and browses from one of the Python that has selenium."""
    from tests.helpers.runs import command, environment

    workdir = options.workdir or make_workdir(folder)
    server = subprocess.Popen(
        command("--mode=serve", f"--workdir={workdir}", "--port=0"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        lines = (line.split() for line in server.stdout or ())
        url = next(words[-1] for words in lines if words and words[-1].startswith("http://"))
        arguments = [f"--{name}={getattr(options, name)}" for name in ("user", "title", "pictures")]
        module = [options.python, "-m", "tests.soak.page", f"--url={url}", *arguments]
        subprocess.run(module, check=True, timeout=300, env={**os.environ, "PYTHONPATH": "."})
    finally:
        server.terminate()
        server.wait(30)
    assert server.returncode == 143


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", default="")
    parser.add_argument("--user", default="u7")
    parser.add_argument("--title", default="Title 5")
    parser.add_argument("--pictures", default="")
    parser.add_argument("--python", default=sys.executable, help="a Python that has selenium")
    parser.add_argument("--url", default="", help="browse only: where the page is")
    options = parser.parse_args()
    if options.url:
        browse(options)
        return
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing or not has_selenium(options.python):
        print(f"the page is not tried: {', '.join(missing) or 'selenium'} is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        serve_and_browse(options, Path(folder))


if __name__ == "__main__":
    main()
