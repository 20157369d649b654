"""The HTML report of `compare` in Chromium: wide and narrow, light and dark, without a network or an error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from comparison_results import full_comparison

from tfsctl.rollout.comparison.html_report import html_report

pytestmark = pytest.mark.browser
PROBE = """
<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body > *, svg")].filter(one => one.getBoundingClientRect().right > innerWidth + 1);
  document.body.dataset.result = JSON.stringify({
    overflow: wide.map(one => one.tagName),
    plots: [...document.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().height > 20).length,
    loaded: performance.getEntriesByType("resource").length,
    background: getComputedStyle(document.body).backgroundColor,
    alerts: window.alerted === undefined,
  });
});
</script>
"""


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_in_a_browser(tmp_path: Path, width: int, colours: str) -> None:
    """Its plots are drawn, nothing is wider than the window, nothing is loaded, and dark is dark."""
    page = tmp_path / "report.html"
    page.write_text(html_report(full_comparison()).replace("</html>", PROBE + "</html>"), encoding="utf-8")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or "google-chrome"
    dark = (
        ["--blink-settings=preferredColorScheme=0"]
        if colours == "dark"
        else ["--blink-settings=preferredColorScheme=1"]
    )
    argv = [
        *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"),
        *(f"--window-size={width},800", f"--user-data-dir={tmp_path / 'profile'}", *dark, page.as_uri()),
    ]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout

    assert "&quot;overflow&quot;:[]" in shown
    assert "&quot;plots&quot;:3" in shown
    assert "&quot;loaded&quot;:0" in shown
    assert "&quot;alerts&quot;:true" in shown
    assert ("rgb(22, 24, 28)" in shown) is (colours == "dark")
