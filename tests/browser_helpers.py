"""A page in whatever headless browser is at hand: playwright's Chromium, else Qt's WebEngine."""

import json
import os
import subprocess
import sys

import pytest

_DRAWN = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
_BACKGROUND = "getComputedStyle(document.body).backgroundColor"
_REASON = (
    "needs a headless browser: pip install playwright and playwright install chromium, or pip install "
    "PySide6==6.8.3"
)


def look(page, scheme, picture):
    """{"drawn", "errors", "background"} of a page, drawn to `picture`; skips without a browser."""
    seen = _by_playwright(page, scheme, picture) or _by_qt(page, scheme, picture)
    if seen is None:
        pytest.skip(_REASON)
    colours = seen["background"].partition("(")[2].rstrip(")").split(",")
    return {**seen, "background": [float(c) for c in colours[:3]]}


def _by_playwright(page, scheme, picture):
    try:
        import playwright.sync_api as playwright
    except ImportError:
        return None
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch()
        except playwright.Error:  # the package without its browser
            return None
        view = browser.new_page(color_scheme=scheme, offline=True)
        errors = []
        view.on("console", lambda message: errors.append(message.text))
        view.on("requestfailed", lambda request: errors.append(request.url))
        view.goto(page.as_uri())
        view.screenshot(full_page=True, path=picture)
        seen = {"drawn": view.evaluate(_DRAWN), "background": view.evaluate(_BACKGROUND), "errors": errors}
        browser.close()
    return seen


def _by_qt(page, scheme, picture):
    """In a process of its own: Qt wants the main thread and its flags before it starts."""
    try:
        import PySide6.QtWebEngineWidgets  # noqa: F401
    except ImportError:
        return None
    flags = "--no-sandbox --disable-gpu --blink-settings=preferredColorScheme=" + "01"[scheme == "light"]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_CHROMIUM_FLAGS": flags}
    command = [sys.executable, __file__, str(page), str(picture)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _main(page, picture):
    from PySide6.QtCore import QTimer, QUrl
    from PySide6.QtWebEngineCore import QWebEnginePage
    from PySide6.QtWebEngineWidgets import QWebEngineView
    from PySide6.QtWidgets import QApplication

    errors, script = [], f"JSON.stringify([{_DRAWN}, {_BACKGROUND}])"

    class Page(QWebEnginePage):
        def javaScriptConsoleMessage(self, level, message, line, source):
            errors.append(message)

    application = QApplication(sys.argv[:1])
    view = QWebEngineView()
    view.setPage(Page(view))
    view.resize(1000, 2600)

    def told(found):
        view.grab().save(picture)
        drawn, background = json.loads(found)
        sys.stdout.write(json.dumps({"drawn": drawn, "background": background, "errors": errors}))
        sys.stdout.flush()
        application.quit()

    def loaded(good):
        if not good:
            errors.append("the page did not load")
        QTimer.singleShot(1500, lambda: view.page().runJavaScript(script, 0, told))

    view.loadFinished.connect(loaded)
    view.load(QUrl.fromLocalFile(page))
    view.show()
    application.exec()


if __name__ == "__main__":
    _main(*sys.argv[1:])
