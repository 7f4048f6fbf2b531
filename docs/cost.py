#!/usr/bin/env python3
"""What tagwarden costs a month beside a Lambda function that does the same: prints the tables of performance.md."""
from math import exp

MONTH = 730 * 3600  # seconds
INPUTS = {  # dollars are list prices of eu-west-1, as in install.md; the rest is measured, configured or assumed
    "violating": (0.01, "share of events about an image that violates the policy", "assumed"),
    "topics": (1, "topics that are notified", "configured"),
    "wait": (20, "seconds of a long poll", "configured: visibility / 3, at most 20"),
    "gather": (0.010, "seconds in which a receive or a delete gathers", "batch.rs: LINGER; for receives assumed"),
    "tasks": (1, "tasks", "configured: MinTasks"),
    "vcpu": (0.25, "vCPU of a task", "configured: TaskSize=small"),
    "memory": (0.5, "GB of a task", "configured: TaskSize=small"),
    "line": (649, "log bytes of a clean event", "measured 623 with traces, and 26 that CloudWatch adds to a line"),
    "lines": (2871, "log bytes of a violating event, 4 lines", "measured 2,467 without traces; 75 a line for them, and 26"),
    "emf": (3000, "log bytes of metrics, a minute and task", "as in install.md"),
    "cluster": (19, "metrics of Container Insights for the cluster and its service", "counted, as in install.md"),
    "task": (6, "metrics of Container Insights for each task", "counted, as in install.md"),
    "pollers": (5, "receives that Lambda keeps under way", "assumed: AWS's minimum"),
    "window": (5, "seconds in which Lambda gathers a batch", "assumed, in Lambda's favour"),
    "floor": (0.001, "seconds of an invocation, beside its events", "assumed"),
    "clean": (0.002, "seconds of a clean event in Lambda", "assumed"),
    "acting": (0.6, "seconds of a violating event in Lambda", "six calls at 100 ms, assumed"),
    "cold": (0.01, "share of invocations that start cold", "assumed"),
    "start": (0.2, "seconds of a cold start", "assumed"),
    "platform": (400, "log bytes of an invocation", "assumed: START, END, REPORT"),
    "size": (0.125, "GB of the function", "configured"),
    "usd_sqs": (0.40e-6, "a call of SQS", "list price"),
    "usd_vcpu": (0.03238, "a vCPU-hour of Fargate, ARM", "list price"),
    "usd_memory": (0.00356, "a GB-hour of Fargate, ARM", "list price"),
    "usd_address": (0.005, "an hour of a public address, the cheapest way out", "list price"),
    "usd_sns": (0.50e-6, "a publish", "list price"),
    "usd_mail": (2.00e-5, "an e-mail", "list price"),
    "usd_log": (0.57e-9, "a byte of CloudWatch Logs", "list price"),
    "usd_metric": (0.30, "a metric", "list price"),
    "usd_bus": (0.0, "an event of an AWS service on the default bus", "list price; forwarded 1.00e-6"),
    "usd_call": (0.20e-6, "an invocation of Lambda", "list price"),
    "usd_gb": (1.33334e-5, "a GB-second of Lambda, ARM", "list price"),
    "usd_trace": (5.00e-6, "a trace in X-Ray", "list price"),
}
I = {name: value for name, (value, _, _) in INPUTS.items()}


def batch(rate, seconds):
    """Events that come evenly, by what gathers them: never more than ten."""
    return min(10, 1 + rate * seconds)


def empty(rate, pollers):
    """Receives of a month that end with nothing, where `pollers` share what comes."""
    each = rate / pollers
    return MONTH * pollers * each * exp(-each * I["wait"]) / (1 - exp(-each * I["wait"]))


def month(day):
    rate = day / 86400
    events = rate * MONTH
    settled = 2 * events / batch(rate, I["gather"])  # a receive and a delete of each batch
    even = (events + settled + empty(rate, I["tasks"])) * I["usd_sqs"]
    bursts = (events * 1.2 + MONTH * I["tasks"] / I["wait"]) * I["usd_sqs"]
    hour = I["vcpu"] * I["usd_vcpu"] + I["memory"] * I["usd_memory"]
    fargate, address = (I["tasks"] * MONTH / 3600 * usd for usd in (hour, I["usd_address"]))
    sns = events * I["violating"] * I["topics"] * (I["usd_sns"] + I["usd_mail"])
    bus = events * I["usd_bus"]
    bytes_ = events * ((1 - I["violating"]) * I["line"] + I["violating"] * I["lines"])
    logs = (bytes_ + I["tasks"] * MONTH / 60 * I["emf"]) * I["usd_log"]
    # The alarm TasksMissing and autoscaling need the count of tasks, which only Container Insights has.
    insights = (I["cluster"] + I["task"] * I["tasks"]) * I["usd_metric"]
    traces = (events + settled) * I["usd_trace"]

    invocations = events / batch(rate / I["pollers"], I["window"])
    received = events / batch(rate / I["pollers"], I["gather"])
    sqs = (events + received + invocations + empty(rate, I["pollers"])) * I["usd_sqs"]
    busy = invocations * (I["floor"] + I["cold"] * I["start"])
    busy += events * ((1 - I["violating"]) * I["clean"] + I["violating"] * I["acting"])
    function = invocations * I["usd_call"] + busy * I["size"] * I["usd_gb"]
    written = (bytes_ + invocations * I["platform"]) * I["usd_log"]
    worker, other = even + fargate + address + sns + bus + logs + insights, sqs + function + sns + bus + written
    return [sns, bus, even, bursts, fargate, address, logs, insights, worker, sqs, function, written, other, traces]


def main():
    print("| name | value | what | where from |\n|---|---|---|---|")
    for name, (value, what, source) in INPUTS.items():
        print(f"| `{name}` | {value:g} | {what} | {source} |")
    heads = "events a day|SNS|EventBridge|SQS|SQS, bursts|Fargate|address|logs|Container Insights|**worker**"
    heads += "|SQS, Lambda|Lambda|logs, Lambda|**Lambda**|X-Ray"
    print(f"\n| {heads.replace('|', ' | ')} |\n|{'---:|' * 15}")
    for day in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        cells = [f"{usd:,.2f}" for usd in month(day)]
        cells[8], cells[12] = f"**{cells[8]}**", f"**{cells[12]}**"
        print(f"| {day:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
