"""Says whether an event matches a pattern of EventBridge, by moto's matcher.

    matches.py

reads {"pattern": ..., "event": ...} from standard input, and prints true or false.
"""

import json
import sys

from moto.events.models import EventPattern

given = json.load(sys.stdin)
print(json.dumps(EventPattern.load(json.dumps(given["pattern"])).matches_event(given["event"])))
