"""The rules for Prometheus and the dashboard for Grafana: they name what there is, and say what they are to say."""

import json
import re

from kit import TOP

from jobspool import metrics

RULES = (TOP / "contrib/alerts.yml").read_text()
TESTS = (TOP / "contrib/alerts.test.yml").read_text()
DASHBOARD = json.loads((TOP / "contrib/grafana-dashboard.json").read_text())
PAGE = (TOP / "man/queuectl-metrics.7").read_text()
ENDINGS = {"histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
EXPORTED = {metric.name + ending for metric in metrics.METRICS for ending in ENDINGS.get(metric.kind, ("",))}


def expressions():
    """What the dashboard asks for, with its variables as Grafana fills them in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def named_in(text):
    return set(re.findall(r"\bqueuectl_\w+", text))


def test_the_rules_are_good_and_fire_when_they_are_to(promtool):
    assert promtool("check", "rules", "contrib/alerts.yml")[0] == 0
    status, said = promtool("test", "rules", "contrib/alerts.test.yml")
    assert status == 0, said


def test_each_rule_is_tested_to_fire():
    fires = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", TESTS)
    assert set(re.findall(r"alert: (\w+)", RULES)) == set(fires)


def test_rules_their_tests_and_the_dashboard_name_only_what_is_told():
    assert named_in(RULES) | named_in(TESTS) | named_in(json.dumps(DASHBOARD)) <= EXPORTED


def test_the_dashboard_shows_each_metric():
    shown = {re.sub("_bucket$", "", name) for name in named_in(" ".join(expressions()))}
    assert {metric.name for metric in metrics.METRICS} - shown == {"queuectl_disk_size_bytes", "queuectl_build"}


def test_labels_that_are_asked_for_are_there():
    labels = {label for metric in metrics.METRICS for label in metric.labels} | {"instance", "le"}
    asked = " ".join([*expressions(), *re.findall(r"expr: (.*)", RULES)])
    grouped = re.findall(r"(?:by|without) \(([\w, ]+)\)", asked)
    matched = re.findall(r"(\w+)(?:=~|!=|=)\"", asked)
    assert {label for group in grouped for label in group.split(", ")} | set(matched) <= labels


def test_what_the_dashboard_asks_for_is_promql(promtool, tmp_path):
    rules = [{"record": f"a:{number}", "expr": each} for number, each in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    status, said = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert (status, f"{len(rules)} rules found" in said) == (0, True), said


def test_the_dashboard_lays_no_panel_over_another():
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert (len(taken), max(x for x, _ in taken)) == (len(set(taken)), 23)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert (len(ids), {panel.get("datasource", {}).get("uid") for panel in DASHBOARD["panels"]}) == (
        len(set(ids)),
        {None, "${datasource}"},
    )


def test_each_metric_stands_in_the_page_with_its_kind_and_labels():
    missing = []
    for metric in metrics.METRICS:
        labels = f"; Cm {' , '.join(metric.labels)} " if metric.labels else ""
        name = metric.name + ("_info" if metric.kind == "info" else "")
        if f".It Cm {name} No ({metric.kind}{labels})" not in PAGE:
            missing.append(name)
    assert missing == []
