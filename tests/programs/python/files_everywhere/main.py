# SPDX-License-Identifier: Apache-2.0
"""Files in the working directory and in /tmp: walking, globbing, locking, mmap, permissions."""
import fcntl
import mmap
import os
import pathlib
import shutil
import stat
import sys
import tempfile

print(os.getcwd() == os.path.dirname(os.path.abspath(__file__)), os.listdir("."))
root = pathlib.Path("tree")
for d in ("a/b/c", "a/x", "z"):
    (root / d).mkdir(parents=True)
for i, p in enumerate(sorted(root.rglob("*"))):
    (p / f"file{i}.txt").write_text(f"{i}\n" * (i + 1), encoding="utf-8")
(root / "link").symlink_to("a/x")
os.link(root / "z" / "file4.txt", root / "hard")
for base, dirs, files in os.walk(root):
    dirs.sort()
    print(base, dirs, sorted(files))
print(sorted(str(p) for p in root.glob("**/*[0-2].txt")), os.readlink(root / "link"))
st = (root / "hard").stat()
print(st.st_size, st.st_nlink, stat.filemode(st.st_mode), oct(os.umask(0o22)))
os.chmod(root / "hard", 0o640)
print(oct((root / "hard").stat().st_mode), os.access(root / "hard", os.R_OK))
with tempfile.TemporaryDirectory() as t:
    print(t.startswith("/tmp/"), shutil.copytree(root, t + "/copy", symlinks=True) == t + "/copy")
    archive = shutil.make_archive(t + "/ball", "gztar", root)
    shutil.unpack_archive(archive, t + "/out")
    print(sorted(os.listdir(t + "/out")))
print(os.path.exists(t))
with open("/tmp/shared.bin", "w+b") as f:
    f.truncate(8192)
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with mmap.mmap(f.fileno(), 0) as m:
        m[4096:4101] = b"hello"
        print(m.find(b"llo"))
    f.seek(4094)
    print(f.read(8), os.fstat(f.fileno()).st_size)
os.remove("/tmp/shared.bin")
with open("log.txt", "a+") as f:
    print("one", "two", sep="\n", file=f)
    f.seek(0)
    print(f.readlines(), f.tell())
r, w = os.pipe()
os.write(w, b"pipe")
print(os.read(r, 10), os.isatty(0), sys.stdin.read())
shutil.rmtree(root)
for bad in ("nowhere/file", "/", "log.txt/x"):
    try:
        open(bad)
    except OSError as e:
        print(type(e).__name__, e)
try:
    open("/etc/shadow-like-file", "w") if os.getuid() else open("/proc/nope", "w")
except OSError as e:
    print("cannot write there:", e.strerror in ("Permission denied", "Read-only file system",
                                               "No such file or directory"))
