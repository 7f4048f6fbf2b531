"""Lists the metrics that the collector does not pass to CloudWatch.

    covered.py collector.yaml

reads [[metric, {label: value}], ...] from standard input, and prints those that are not passed.
"""

import json
import pathlib
import re
import sys

import yaml


def declared(exporter, metric, labels):
    """Whether a declaration of the EMF exporter has exactly these dimensions and accepts the labels."""
    for one in exporter["metric_declarations"]:
        matchers = one.get("label_matchers", [])
        named = any(re.search(pattern, metric) for pattern in one["metric_name_selectors"])
        by_these = any(sorted(dimensions) == sorted(labels) for dimensions in one["dimensions"])
        taken = not matchers or any(
            re.search(matcher["regex"], ";".join(labels.get(name, "") for name in matcher["label_names"]))
            for matcher in matchers
        )
        if named and by_these and taken:
            return True
    return False


def passes(processors, metric):
    """Whether the filter passes a metric of this name."""
    drops = processors.get("filter", {}).get("metrics", {}).get("metric", [])
    for rule in drops:
        pattern = re.fullmatch(r'not IsMatch\(name, "(.+)"\)', rule)
        assert pattern, f"a rule of the filter that is new to this test: {rule}"
        if not re.search(pattern.group(1), metric):
            return False
    return True


def main():
    config = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    exporter = config["exporters"]["awsemf"]
    assert exporter["dimension_rollup_option"] == "NoDimensionRollup"
    assert exporter["namespace"] == "${env:METRICS_NAMESPACE}"
    missing = [
        [metric, labels]
        for metric, labels in json.load(sys.stdin)
        if not (declared(exporter, metric, labels) and passes(config["processors"], metric))
    ]
    print(json.dumps(missing))


main()
