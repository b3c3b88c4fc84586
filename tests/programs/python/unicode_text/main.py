# SPDX-License-Identifier: Apache-2.0
"""Combining marks, emoji, right to left, normal forms, casing, other encodings, surrogates."""
import sys
import unicodedata

samples = ["e\u0301", "\u00e9", "👩‍👩‍👧‍👦", "🇨🇭", "שלום עולם", "مرحبا", "Straße", "İstanbul", "ﬁne",
           "日本語", "𝔘𝔫𝔦", "a\u0300\u0301\u0302", "Ω≈ç√∫", "\u200fRTL mark", "नमस्ते", "ᄒ\u1161ᆫ"]
for s in samples:
    nfc, nfkd = unicodedata.normalize("NFC", s), unicodedata.normalize("NFKD", s)
    print(s, len(s), len(s.encode()), len(nfc), len(nfkd), s.upper(), s.casefold(), sep="|")
print([unicodedata.name(c, "?") for c in "é🙂ש‮\u0301"])
print(ascii("é🙂"), repr("tab\tnull\0bell\a"), "\N{SNOWMAN}")
print("é".encode("latin-1"), "é".encode("utf-16-le"), "ü".encode("ascii", "xmlcharrefreplace"))
print("in:", [line.rstrip("\n") for line in sys.stdin])
print(sorted(["zebra", "Äpfel", "apfel", "Zoo", "éclair"]))
größe, 变量 = 3, 4
print(größe * 变量, "‏שלום‏"[::-1])
try:
    "\ud800".encode()
except UnicodeEncodeError as e:
    print(e)
try:
    b"ok\xff\xfe".decode()
except UnicodeDecodeError as e:
    print(e)
print(ascii(b"ok\xff".decode(errors="replace")), b"caf\xc3".decode(errors="backslashreplace"))
print(sys.stdout.encoding, sys.stdin.encoding, sys.getfilesystemencoding())
with open("🐍 ñ.txt", "w") as f:
    f.write("naïve\n")
print(open("🐍 ñ.txt").read().strip(), "stderr next", flush=True)
print("stderr: ✗ ünïcode", file=sys.stderr)
raise LookupError("nicht gefunden: 🔍 שגיאה")
