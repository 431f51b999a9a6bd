"""Which chart library carries the page: four that a Python wheel brings, in the same browser.

Each draws a full day (six panels, sixteen lines of 780 points) under the page's own policy, then
takes 200 bars one by one. The wheels are unpacked into a folder, nothing is installed:

    python -m tests.benchmarks.study_charts
"""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.page.browser import ARGUMENTS, CHROMIUM

POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: Name → its wheel, the file in it, further files, how it draws and how it takes a bar.
CANDIDATES = {
    "uPlot": (
        "youplot",
        "youplot/vendor/uplot.iife.min.js",
        """
        const series = (n) => [{}, ...Array.from({length: n}, () => ({stroke: '#36c', width: 1.5}))];
        window.draw = () => { window.all = PANELS.map((n) => new uPlot(
          {width: 900, height: 180, series: series(n), cursor: {sync: {key: 'a'}}},
          [X.slice(), ...Array.from({length: n}, (_, k) => Y(k))], place())); };
        window.add = (i) => all.forEach((u) => { const d = u.data;
          d[0].push(X.at(-1) + 30 * (i + 1)); for (let k = 1; k < d.length; k++) d[k].push(Math.sin(i));
          u.setData(d); });
        """,
    ),
    "lightweight-charts": (
        "lwcharts",
        "lwcharts/vendor/lightweight-charts.standalone.production.js",
        """
        window.draw = () => { const L = LightweightCharts;
          window.chart = L.createChart(place(), {width: 900, height: 1080});
          window.lines = PANELS.flatMap((n, pane) => Array.from({length: n}, (_, k) => {
            const s = chart.addSeries(L.LineSeries, {lineWidth: 1}, pane);
            s.setData(Y(k).map((value, i) => ({time: X[i], value}))); return s; }));
          chart.timeScale().fitContent(); };
        window.add = (i) => lines.forEach((s) => s.update({time: X.at(-1) + 30 * (i + 1), value: Math.sin(i)}));
        """,
    ),
    "plotly": (
        "plotly",
        "plotly/package_data/plotly.min.js",
        """
        window.draw = async () => { const traces = [], layout = {width: 900, height: 1080,
            grid: {rows: PANELS.length, columns: 1}, hovermode: 'x unified'};
          PANELS.forEach((n, p) => { for (let k = 0; k < n; k++) traces.push({x: X.slice(), y: Y(k),
            mode: 'lines', type: 'scatter', xaxis: 'x', yaxis: p ? 'y' + (p + 1) : 'y'}); });
          window.box = place(); await Plotly.newPlot(box, traces, layout); };
        window.add = async (i) => { const all = box.data.map((_, k) => k);
          await Plotly.extendTraces(box, {x: all.map(() => [X.at(-1) + 30 * (i + 1)]),
            y: all.map(() => [Math.sin(i)])}, all); };
        """,
    ),
    "bokeh": (
        "bokeh",
        "bokeh/server/static/js/bokeh.min.js",
        """
        window.draw = async () => { const P = Bokeh.Plotting; window.sources = [];
          const figures = PANELS.map((n) => { const f = P.figure({width: 900, height: 180});
            const data = {x: X.slice()}; for (let k = 0; k < n; k++) data['y' + k] = Y(k);
            const source = new Bokeh.ColumnDataSource({data}); sources.push(source);
            for (let k = 0; k < n; k++) f.line({field: 'x'}, {field: 'y' + k}, {source});
            return f; });
          for (const f of figures) await P.show(f, place()); };
        window.add = (i) => sources.forEach((s) => { const more = {};
          for (const name of Object.keys(s.data)) more[name] = [name === 'x' ? X.at(-1) + 30 * (i + 1) : Math.sin(i)];
          s.stream(more); });
        """,
    ),
}
EXTRA = {"bokeh": ["bokeh/server/static/js/bokeh-api.min.js"]}
SETUP = """
window.refused = []; addEventListener('securitypolicyviolation',
  (e) => refused.push(e.violatedDirective + ' ' + e.blockedURI));
window.PANELS = [6, 3, 2, 1, 2, 2];
window.X = Array.from({length: 780}, (_, i) => 1787146200 + 30 * i);
window.Y = (k) => X.map((_, i) => Math.sin(i / 40 + k) + i / 400);
window.place = () => document.body.appendChild(document.createElement('div'));
window.frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
"""
MEASURE = """async () => {
  const begun = performance.now(); await draw(); await frame(); const drawn = performance.now() - begun;
  const took = []; for (let i = 0; i < 200; i++) { const t = performance.now(); await add(i); await frame();
    took.push(performance.now() - t); }
  took.sort((a, b) => a - b);
  return {drawn, bar: took[100], worst: took[198], refused: [...new Set(refused)]}; }"""


class Policed(http.server.SimpleHTTPRequestHandler):
    """Files under the page's policy."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="charts-"))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Policed, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("library             wheel's file  gzipped   load ms  draw ms  bar ms  p99 ms  refused")
    with sync_playwright() as play:
        for name, (wheel, path, code) in CANDIDATES.items():
            install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
            subprocess.run([*install, str(folder / name), wheel], check=True, capture_output=True)
            scripts = [f"/{name}/{script}" for script in (path, *EXTRA.get(name, []))]
            (folder / f"{name}.js").write_text(SETUP + code)
            tags = "".join(f'<script src="{script}"></script>' for script in scripts)
            page = f'<!doctype html><meta charset="utf-8"><body>{tags}<script src="/{name}.js"></script>'
            (folder / f"{name}.html").write_text(page)
            raw = b"".join((folder / script.lstrip("/")).read_bytes() for script in scripts)
            browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            tab = browser.new_page(viewport={"width": 1280, "height": 1200})
            tab.goto(f"http://127.0.0.1:{server.server_port}/{name}.html")
            load = tab.evaluate("performance.timing.loadEventEnd - performance.timing.fetchStart")
            times = tab.evaluate(MEASURE)
            print(
                f"{name:20}{len(raw) / 1e3:9.0f} kB {len(gzip.compress(raw)) / 1e3:6.0f} kB"
                f"{load:9.0f}{times['drawn']:9.0f}{times['bar']:8.1f}{times['worst']:8.1f}"
                f"  {', '.join(times['refused']) or 'none'}"
            )
            browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
