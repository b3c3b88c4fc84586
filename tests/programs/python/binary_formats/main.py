# SPDX-License-Identifier: Apache-2.0
"""struct, zlib, gzip, zipfile, base64, hashing: a PNG written and read back by hand."""
import base64
import binascii
import gzip
import hashlib
import hmac
import io
import struct
import zipfile
import zlib


def chunk(kind, body):
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


w, h = 48, 32
rows = b"".join(b"\0" + bytes((x * 5 ^ y * 7) & 255 for x in range(w) for _ in "rgb") for y in range(h))
png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", w, h, 8, 2, 0, 0, 0))
       + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))
with open("picture.png", "wb") as f:
    f.write(png)
with open("picture.png", "rb") as f:
    assert f.read(8) == png[:8]
    while head := f.read(8):
        size, kind = struct.unpack(">I4s", head)
        body = f.read(size)
        (crc,) = struct.unpack(">I", f.read(4))
        print(kind.decode(), size > 0, crc == zlib.crc32(kind + body))
        if kind == b"IDAT":
            print("pixels intact:", zlib.decompress(body) == rows)
text = b"the rain in spain " * 400
print(len(zlib.decompress(zlib.compress(text))), gzip.decompress(gzip.compress(text, mtime=0)) == text)
print(zlib.adler32(text), binascii.crc_hqx(text, 0), base64.b85encode(text[:20]), base64.b32encode(b"hi"))
for name in ("md5", "sha1", "sha256", "sha3_256", "blake2b"):
    print(name, hashlib.new(name, text).hexdigest()[:32])
print(hmac.new(b"key", text, "sha512").hexdigest()[:32], hashlib.scrypt(b"p", salt=b"s", n=2, r=1, p=1).hex()[:16])
print(hashlib.pbkdf2_hmac("sha256", b"pw", b"salt", 10).hex())
buf = io.BytesIO()
with zipfile.ZipFile(buf, "w", zipfile.ZIP_DEFLATED) as z:
    for i in range(3):
        z.writestr(zipfile.ZipInfo(f"dir/{i}.txt", (1980, 1, 1, 0, 0, 0)), f"content {i}\n" * 50)
with zipfile.ZipFile(buf) as z:
    print(z.namelist(), z.testzip(), z.read("dir/2.txt")[-10:])
rec = struct.Struct("<hHiIqQfd?3s5p")
packed = rec.pack(-1, 65535, -2**31, 2**32 - 1, -2**63, 2**64 - 1, 1.5, -0.1, True, b"abc", b"pas")
print(rec.size, packed.hex(), rec.unpack(packed))
try:
    struct.pack("B", 256)
except struct.error as e:
    print(e)
try:
    zlib.decompress(b"nonsense")
except zlib.error as e:
    print(e)
print(memoryview(bytearray(b"abcdef"))[1:5:2].tolist(), int.from_bytes(b"\xff\xfe", "little", signed=True))
