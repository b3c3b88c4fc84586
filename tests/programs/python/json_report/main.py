# SPDX-License-Identifier: Apache-2.0
import json
import sys
from collections import Counter, defaultdict
from statistics import mean, median, pstdev

rows, bad = [], []
for number, line in enumerate(sys.stdin, 1):
    try:
        rows.append(json.loads(line))
    except json.JSONDecodeError as e:
        bad.append((number, str(e)))
by_city = defaultdict(list)
for r in rows:
    by_city[r["city"]].append(r["temp"])
report = {
    city: {"mean": round(mean(t), 3), "median": median(t), "spread": round(pstdev(t), 4), "n": len(t)}
    for city, t in sorted(by_city.items())
}
print(json.dumps(report, indent=2, ensure_ascii=False))
print(json.dumps(rows, sort_keys=True, separators=(",", ":")))
print(Counter(tag for r in rows for tag in r.get("tags", [])).most_common(3))


class Encoder(json.JSONEncoder):
    def default(self, o):
        if isinstance(o, (set, frozenset)):
            return {"$set": sorted(o)}
        if isinstance(o, complex):
            return [o.real, o.imag]
        return super().default(o)


text = json.dumps({"s": {3, 1, 2}, "z": 1 + 2j, "inf": float("inf"), "n": None}, cls=Encoder)
print(text)
print(json.loads(text, object_hook=lambda d: set(d["$set"]) if "$set" in d else d))
print(json.loads('{"a": 1, "a": 2, "big": 123456789012345678901234567890, "e": 1E5}'))
for b in bad:
    print(*b, file=sys.stderr)
json.dumps({"bad": object})
