"""The dashboards: each query runs, on the metrics that there are and on a database with rows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from factories import at, gap, record

from storage.postgres.grants import VIEWS
from storage.postgres.store import Store

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {p.stem: json.loads(p.read_text()) for p in sorted((GRAFANA / "dashboards").iterdir())}
SOURCES = yaml.safe_load((GRAFANA / "provisioning/datasources/zerodte-flow.yaml").read_text())


def targets(board: str) -> list[dict[str, Any]]:
    return [target for panel in BOARDS[board]["panels"] for target in panel["targets"]]


def test_each_panel_has_its_source_and_place() -> None:
    """Two dashboards; each panel asks a data source that is provisioned, and none lies on another."""
    assert set(BOARDS) == {"operations", "session"}
    known = {(source["type"], source["uid"]) for source in SOURCES["datasources"]}
    for board in BOARDS.values():
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
        assert len(set(places)) == len(places) == len({p["title"] for p in board["panels"]})
        for panel in board["panels"]:
            for piece in [panel, *panel["targets"]]:
                assert (piece["datasource"]["type"], piece["datasource"]["uid"]) in known


def test_no_password_is_in_the_files() -> None:
    """The data sources take passwords from Grafana's environment."""
    (database,) = [s for s in SOURCES["datasources"] if s["type"] == "postgres"]
    assert re.fullmatch(r"\$\{\w+\}", database["secureJsonData"]["password"])


def metrics() -> dict[str, set[str]]:
    """Name → labels, from the table that a test of its own holds equal to the programs' metrics."""
    table = re.findall(
        r"^\| `(flow_\w+)(?:\{([\w,]+)\})?`", (ROOT / "docs/access.md").read_text(), re.MULTILINE
    )
    return {name: set(filter(None, labels.split(","))) for name, labels in table}


def test_operations_read_metrics_that_exist() -> None:
    """Every metric is one of ours, and is grouped by labels that it has."""
    known = metrics()
    assert len(known) > 20
    for target in targets("operations"):
        (name,) = set(re.findall(r"\bflow_\w+", target["expr"]))
        family = name if name in known else name.removesuffix("_bucket")
        assert family in known, name
        # Prometheus adds the instance, and a histogram has le.
        there = known[family] | {"instance"} | ({"le"} if family != name else set())
        groups = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        grouped = {label.strip() for group in groups for label in group.split(",")}
        assert grouped <= there, target["expr"]
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


def test_prometheus_understands_them(tmp_path: Path) -> None:
    """promtool reads each expression."""
    if not shutil.which("promtool") and os.environ.get("CI") != "true":
        pytest.skip("no promtool")
    rules = [
        {"record": f"dashboard:{i}", "expr": target["expr"].replace("$__rate_interval", "1m")}
        for i, target in enumerate(targets("operations"))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_session_reads_the_views_alone() -> None:
    """Every query reads the views that have a version, and no table."""
    queries = [target["rawSql"] for target in targets("session")]
    queries += [each["query"] for each in BOARDS["session"]["templating"]["list"]]
    for query in queries:
        relations = re.findall(r"\b(?:from|join) (\S+)", query)
        assert relations
        assert {each.removeprefix("flow.") for each in relations} <= set(VIEWS), query
        assert all(each.startswith("flow.") for each in relations), query


async def test_session_reads_the_schema(database: str) -> None:
    """Each query answers the rows that are stored, in order, within the time that is shown."""
    async with Store.open(database, "live") as store:
        await store.write([record(slot=at(i)) for i in (0, 1, 3)], [gap(2)])

    def ask(query: str) -> tuple[list[str], list[tuple]]:
        shown = rf"\1 between '{at(1)}' and '{at(9)}'"
        query = re.sub(r"\$__timeFilter\((t|slot)\)", shown, query)
        query = query.replace("$symbol", "SPX").replace("$feed", feed)
        assert "$" not in query
        with psycopg.connect(database) as opened:
            cursor = opened.execute(query)
            assert cursor.description is not None
            return [c.name for c in cursor.description], cursor.fetchall()

    feed = ""
    symbols, feeds = (v["query"] for v in BOARDS["session"]["templating"]["list"])
    assert ask(symbols)[1] == [("SPX",)]
    ((feed,),) = ask(feeds)[1]
    for target in targets("session"):
        columns, rows = ask(target["rawSql"])
        if target["format"] == "table":
            assert rows == [("source_down", 1, at(2), at(2))]
            continue
        assert columns[0] == "time"
        assert [row[0] for row in rows] == [at(1), at(3)]
        with psycopg.connect(database) as opened:
            kinds = {
                c.type_code
                for c in opened.execute(
                    target["rawSql"].replace("$__timeFilter(t)", "true")
                ).description[1:]
            }
        # What is drawn is numbers: int4, float8.
        assert kinds <= {23, 701}
