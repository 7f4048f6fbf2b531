"""The parts of tests/prometheus/run that need more than a shell. Standard library only.

    check.py COMMAND DIRECTORY

DIRECTORY has the output of the example (example.log) and of Prometheus (prometheus.log).
"""

import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DEPLOY = Path("deploy")
GUIDE = Path("docs/runbook.md")
PATIENCE = 30
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$job": "tagwarden", "$instance": ".+"}
SELECTOR = re.compile(r"\b(?:up|tagwarden_\w+)\b(?:\{[^}]*\})?")
ALTERNATIVES = re.compile(r'=~"(\w+(?:\|\w+)+)"')


def fetch(url, data=None, headers=None):
    request = urllib.request.Request(url, data, headers or {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def wait_for(what, get):
    """The first answer of `get` that is not empty."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = get()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"waited {PATIENCE} s for {what}")


class Example:
    """The local example: what it says about how to reach it."""

    def __init__(self, directory):
        text = (directory / "example.log").read_text()

        def one(pattern):
            found = re.search(pattern, text)
            return found[1] if found else sys.exit(f"example.log: nothing like {pattern}")

        self.aws = one(r"AWS_ENDPOINT_URL=(\S+)")
        self.worker = one(r"http://(\S+)/metrics")
        self.repository = one(r"aws ecr put-image --repository-name (\S+)")
        self.manifest = one(r"--image-manifest \\\n\s+'([^']+)'")
        self.queue = one(r"export TAGWARDEN__QUEUE__URL=\\?\s*(\S+)").strip("'")

    def call(self, target, version, parameters):
        headers = {"X-Amz-Target": target, "Content-Type": f"application/x-amz-json-{version}"}
        fetch(self.aws, json.dumps(parameters).encode(), headers)

    def push_a_vulnerable_image(self):
        self.call(
            "AmazonEC2ContainerRegistry_V20150921.PutImage",
            "1.1",
            {"repositoryName": self.repository, "imageTag": "try", "imageManifest": self.manifest},
        )

    def send_what_is_no_event(self):
        self.call("AmazonSQS.SendMessage", "1.0", {"QueueUrl": self.queue, "MessageBody": "no event"})


class Prometheus:
    """The API of the running Prometheus."""

    def __init__(self, directory):
        text = (directory / "prometheus.log").read_text()
        self.url = "http://" + re.search(r"address=(127\.0\.0\.1:[1-9]\d*)", text)[1]

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        return json.loads(fetch(f"{self.url}/api/v1/{path}?{query}"))["data"]

    def samples(self, expression):
        """The numbers that an expression gives."""
        try:
            answer = self.api("query", query=expression)
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read())["error"]) from error
        values = [sample["value"][1] for sample in answer["result"]]
        return [number for number in map(float, values) if math.isfinite(number)]

    def rules(self):
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def alerts(self, *states):
        """The names of the alerts that are in these states."""
        return {rule["name"] for rule in self.rules() if rule["state"] in states}

    def wait_for_an_evaluation(self):
        """Returns when every alert has been evaluated after the call."""
        before = {rule["name"]: rule["lastEvaluation"] for rule in self.rules()}
        wait_for(
            "the evaluation of the alerts",
            lambda: all(rule["lastEvaluation"] != before[rule["name"]] for rule in self.rules()),
        )


def selectors(expression):
    """What an expression selects, a selector for each alternative of its labels."""
    for found in SELECTOR.findall(expression):
        alternatives = ALTERNATIVES.search(found)
        if alternatives:
            for one in alternatives[1].split("|"):
                yield found.replace(alternatives[0], f'="{one}"')
        else:
            yield found


def misses(prometheus, expression, data):
    """What is wrong with an expression: it is none, it selects what the worker does not show, or it has no data."""
    try:
        samples = prometheus.samples(expression)
        if data and not samples:
            yield "no data"
        for selector in selectors(expression):
            if not prometheus.samples(selector):
                yield f"the worker does not show {selector}"
    except ValueError as error:
        yield str(error)


def anchors():
    """The sections of the runbook, as links name them."""
    text = GUIDE.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = (re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings)
    return {*slugs, *re.findall(r'<a id="([\w-]+)">', text)}


def problems_of_alerts(prometheus):
    known = anchors()
    for rule in prometheus.rules():
        name, notes = rule["name"], rule["annotations"]
        for problem in misses(prometheus, rule["query"], data=False):
            yield f"{name}: {problem}: {rule['query']}"
        if rule["health"] != "ok":
            yield f"{name}: {rule.get('lastError', rule['health'])}"
        if rule["labels"].get("severity") not in {"critical", "warning", "info"}:
            yield f"{name}: no severity"
        if not notes.get("summary") or not notes.get("description"):
            yield f"{name}: no summary or no description"
        page, _, section = notes.get("runbook_url", "").partition("#")
        if page != str(GUIDE) or section not in known:
            yield f"{name}: {GUIDE} has no section {section}"


def problems_of_a_panel(panel, prometheus):
    if not panel.get("title") or not panel.get("description", "").endswith("."):
        yield "no title, or no description"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    if not panel.get("targets"):
        yield "no expression"
    for part in [panel, *panel.get("targets", [])]:
        if part.get("datasource", {}).get("uid") != "${datasource}":
            yield "not of the chosen data source"
    for target in panel.get("targets", []):
        expression = target["expr"]
        for selector in SELECTOR.findall(expression):
            if 'job=~"$job"' not in selector or 'instance=~"$instance"' not in selector:
                yield f"not of the chosen tasks: {selector}"
        for window in re.findall(r"\[([^\]]+)\]", expression):
            if window not in VARIABLES:
                yield f"a window that does not follow what is shown: {window}"
        for problem in misses(prometheus, filled(expression), data=True):
            yield f"{problem}: {expression}"


def filled(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def problems_of_dashboard(prometheus):
    dashboard = json.loads((DEPLOY / "grafana/tagwarden.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        yield "panels share an id"
    for panel in panels:
        for problem in problems_of_a_panel(panel, prometheus):
            yield f"{panel.get('title')}: {problem}"
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    if variables.keys() != {"datasource", "job", "instance"}:
        yield f"variables: {', '.join(variables)}"
    for name in ("job", "instance"):
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variables[name]["definition"]).groups()
        if label != name or not prometheus.samples(f"count by ({label}) ({filled(selector)})"):
            yield f"variable {name}: no values"
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            for problem in misses(prometheus, filled(annotation["expr"]), data=True):
                yield f"annotation {annotation['name']}: {problem}"
    expressions = sum(len(panel["targets"]) for panel in panels)
    print(f"dashboard: {len(panels)} panels with {expressions} expressions")


def config(directory):
    """The example of a configuration, in a hurry, and the file from which it has its tasks."""
    tasks = [{"targets": [Example(directory).worker]}]
    (directory / "tagwarden-tasks.json").write_text(json.dumps(tasks))
    text = (DEPLOY / "prometheus/prometheus.yaml").read_text()
    alerts = (DEPLOY / "prometheus/alerts.yaml").resolve()
    for pattern, replacement in [
        (r"scrape_interval: 30s", "scrape_interval: 1s"),
        (r"evaluation_interval: 1m", "evaluation_interval: 1s"),
        (r"  - alerts.yaml", f"  - {alerts}"),
    ]:
        text, found = re.subn(pattern, replacement, text)
        if found != 1:
            sys.exit(f"prometheus.yaml: {found} times {pattern}")
    sys.stdout.write(text)


def scraped(directory):
    """The worker works, fails to understand something, and every expression is evaluated."""
    example, prometheus = Example(directory), Prometheus(directory)
    untagged = 'sum(tagwarden_image_actions_total{action="untag", outcome="done"})'
    before = wait_for("the first scrape", lambda: prometheus.samples(untagged))[0]
    example.push_a_vulnerable_image()
    wait_for("the image to be untagged", lambda: prometheus.samples(f"{untagged} == {before + 1}"))
    prometheus.wait_for_an_evaluation()
    if wrong := prometheus.alerts("pending", "firing"):
        sys.exit(f"nothing is wrong, but there are alerts: {', '.join(wrong)}")

    example.send_what_is_no_event()
    malformed = {"TagwardenMalformedMessages"}
    wait_for("the alert on a malformed message", lambda: prometheus.alerts("firing") == malformed)

    problems = [*problems_of_alerts(prometheus), *problems_of_dashboard(prometheus)]
    print(f"alerts: {len(prometheus.alerts('inactive', 'firing'))}")
    if problems:
        sys.exit("\n".join(problems))


def stopped(directory):
    """The worker is gone. While it drained it was not ready, and a scrape may have seen that."""
    prometheus = Prometheus(directory)
    gone = {"TagwardenNotScraped", "TagwardenTaskNotScraped"}
    wait_for("the alerts on a worker that is gone", lambda: prometheus.alerts("pending") >= gone)
    print("stopped: the alerts on a worker that is gone are pending")


def metrics(directory):
    """What the worker shows."""
    text = fetch(f"http://{Example(directory).worker}/metrics")
    if "tagwarden_build_info" not in text:
        sys.exit("the worker shows no metrics")
    sys.stdout.write(text)


if __name__ == "__main__":
    COMMANDS = {command.__name__: command for command in (metrics, config, scraped, stopped)}
    COMMANDS[sys.argv[1]](Path(sys.argv[2]))
