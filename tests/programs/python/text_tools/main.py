# SPDX-License-Identifier: Apache-2.0
"""csv, configparser, argparse, textwrap, difflib, string templates, html, xml, shlex."""
import argparse
import configparser
import csv
import difflib
import html
import io
import shlex
import string
import sys
import textwrap
import xml.etree.ElementTree as ET

ap = argparse.ArgumentParser(prog="tools")
ap.add_argument("--width", type=int, default=40)
ap.add_argument("-v", action="count", default=0)
ap.add_argument("words", nargs="*")
opts = ap.parse_args(sys.argv[1:4])
print(opts)
rows = list(csv.DictReader(sys.stdin))
print(rows[1], len(rows))
out = csv.writer(sys.stdout, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
for r in sorted(rows, key=lambda r: -float(r["price"])):
    out.writerow(r.values())
conf = configparser.ConfigParser()
conf.read_string("[DEFAULT]\nroot = /srv\n[web]\npath = %(root)s/www\nport: 80\non = yes\n")
print(conf["web"]["path"], conf.getint("web", "port"), conf["web"].getboolean("on"))
print(textwrap.fill("The quick brown fox jumps over the lazy dog and keeps running for a while.",
                    opts.width, initial_indent="* ", subsequent_indent="  "))
print("".join(difflib.unified_diff(["a\n", "b\n", "c\n"], ["a\n", "x\n", "c\n", "d\n"], "old", "new")))
print(difflib.get_close_matches("appel", ["ape", "apple", "peach"]))
print(string.Template("$who owes $$${n}").substitute(who="Bo", n=5), html.escape("<a href='x'>&</a>"))
print(shlex.split("a 'b c' \"d\\\"e\" f\\ g"), shlex.join(["x y", "z'"]))
tree = ET.fromstring("<r><i k='1'>é</i><i k='2'/><!-- c --><n><i k='3'>t</i></n></r>")
print([(i.get("k"), i.text) for i in tree.iter("i")], ET.tostring(tree.find("n"), "unicode"))
print(f"{'x':*^9}|{3.14159:+08.2f}|{255:#010b}|{1e6:,.0f}|{0.256:.1%}|{'é':>3}|{[1]!r:>5}|{opts.v=}")
print("%-5s|%05d|%x|%r" % ("ab", 42, 255, "q"), "{0[k]} {1.real}".format({"k": 1}, 2))
buf = io.StringIO()
print("captured", file=buf)
print(repr(buf.getvalue()))
ap.parse_args(["--width", "wide"])
