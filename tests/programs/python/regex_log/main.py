# SPDX-License-Identifier: Apache-2.0
import re
import sys
from collections import Counter

LINE = re.compile(r"""
    ^(?P<host>\S+)\s\S+\s(?P<user>\S+)\s\[(?P<when>[^\]]+)\]\s
    "(?P<verb>[A-Z]+)\s(?P<path>[^"\s]+)(?:\s(?P<proto>HTTP/[\d.]+))?"\s
    (?P<status>\d{3})\s(?P<size>\d+|-)$""", re.X)
hits, size, errors = Counter(), 0, []
for line in sys.stdin:
    m = LINE.match(line)
    if not m:
        errors.append(line.strip())
        continue
    hits[m["verb"], m["status"][0] + "xx"] += 1
    size += int(m["size"]) if m["size"] != "-" else 0
    print(m.groupdict(), m.span("path"))
print(sorted(hits.items()), size, errors)
print(re.sub(r"(\w+)@(\w+)\.com", lambda m: m[1][0] + "***@" + m[2].upper(), "ann@site.com, bo@x.com"))
print(re.findall(r"(?<=\$)\d+(?:\.\d\d)?(?!\d)", "pay $12.50 or $7, not 9"))
print(re.split(r"\s*([,;])\s*", "a , b;c ;d"), re.fullmatch(r"(a+)+b", "aaaaab"))
print(re.findall(r"\b(\w)(\w)\2\1\b", "abba noon deed abcd otto", re.I))
print(re.sub(r"(?m)^(?=.)", "> ", "one\n\ntwo"), re.escape("a.b*c[é]"))
print(re.compile("ÉTÉ", re.I).findall("été ÉTÉ Été"), re.search(r"\d+", "٣٤٥")[0])
try:
    re.compile(r"(unclosed[")
except re.error as e:
    print(e, e.pos)
