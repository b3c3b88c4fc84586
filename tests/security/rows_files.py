# SPDX-License-Identifier: Apache-2.0
"""Tricks with files: links, special files, names, what stays, and what a compiler reads."""
import os

from model import OK, TIMEOUT, Row, ended, every, probed, program, py, says, says_nothing, want

SYMLINKS = """
import os
os.symlink('/etc/shadow','out.txt')
os.symlink('/proc/1/environ','out2.txt')
for p in ('out.txt','out2.txt'):
    try: print(open(p).read(64))
    except OSError as e: print(e.errno)
"""
RACE = """
import os,threading
os.makedirs('d',exist_ok=True); open('d/f','w').write('x')
def r():
    while True:
        try: os.rename('d','e'); os.symlink('/etc','d'); os.unlink('d'); os.rename('e','d')
        except OSError: pass
threading.Thread(target=r,daemon=True).start()
import time; time.sleep(20)
"""
PLANT = """
import os
for p in ('run.sh','main.py','stdin','stdout','meta','compile.sh','main','main.rs'):
    try:
        if os.path.lexists(p): os.unlink(p)
        os.symlink('/tmp/owned',p)
    except OSError: pass
for base, dirs, files in os.walk('/'):
    if base.startswith(('/proc','/sys','/usr','/dev/')): continue
    for name in ('owned','main.py','input','output'):
        try: os.symlink('/tmp/owned',os.path.join(base,name))
        except OSError: pass
print('planted')
"""
# The program replaces its own file and directory; the service takes the space apart all the same.
MOVE_HOME = """
import os
os.rename('/work/main.py','/work/gone')
os.chmod('/work',0); os.chmod('/home/user',0)
print('moved')
"""
SPECIAL = """
import os,socket
os.mkfifo('fifo.out')
socket.socket(socket.AF_UNIX).bind('sock.out')
try: os.mknod('dev.out',0o600|0o020000,os.makedev(1,3))
except OSError as e: print(e.errno)
try: os.mknod('blk.out',0o600|0o060000,os.makedev(7,0))
except OSError as e: print(e.errno)
"""
STAY = """
import os
for d in ('/tmp','/var/tmp','/dev/shm','/run','/run/lock','/home','/home/user','/root','/etc',
          '/usr/bin','/csb','/','.'):
    p=os.path.join(d,'bean')
    print(d, os.path.exists(p))
    try: open(p,'w').write('x')
    except OSError: pass
"""
# What of it may be written at all.
WRITABLE = """
import os
found=[]
left=['/']
while left:
    try: entries=list(os.scandir(left.pop()))
    except OSError: continue
    for e in entries:
        if e.is_symlink(): continue
        if os.access(e.path,os.W_OK): found.append(e.path)
        if e.is_dir() and e.path not in ('/proc','/sys'): left.append(e.path)
print(*sorted(found),sep='\\n')
"""
MAY_WRITE = ("/work", "/home/user", "/tmp", "/var/tmp", "/dev/shm")
DEVICES = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
           "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx", "/dev/pts", "/dev/pts/ptmx"}
CACHES = """
import os
for k in ('CARGO_HOME','RUSTUP_HOME','npm_config_cache','PIP_CACHE_DIR','XDG_CACHE_HOME','DENO_DIR'):
    d=os.environ.get(k)
    if d:
        try: open(os.path.join(d,'x'),'w').write('x'); print('WROTE',k)
        except OSError as e: print(k,e.errno)
"""
# Twice the same program, which spoils its own executable: the second must be as whole as the first.
SPOIL = """
use std::{env, fs};
fn main() {
    let me = env::current_exe().unwrap();
    println!("whole {}", fs::metadata(&me).unwrap().len() > 4096);
    let _ = fs::remove_file(&me);
    let _ = fs::write(&me, "#!/bin/sh\\necho spoilt\\n");
    let _ = fs::write("/work/main", "spoilt");
}
"""
DENO_CACHE = """
const dir = Deno.env.get("DENO_DIR") ?? "/tmp/.deno";
let seen = false;
try { Deno.statSync(dir + "/bean"); seen = true; } catch { /* not there */ }
console.log(seen);
try { Deno.mkdirSync(dir, { recursive: true }); Deno.writeTextFileSync(dir + "/bean", "x"); } catch { /* no */ }
"""

BAD_PATHS = ["../../etc/x", "/abs", "n\n.py", "x" * 256, "a/../b", "./a", "a//b", "", ".", "..", "d/",
             "/".join("a" * 17), "tab\there", "\x7f", "main.py"]
NO_JSON_PATHS = ["a\\u0000b", "\\ud800"]


def file_names(rig):
    for name in BAD_PATHS:
        rig.refused(field=f"files.{name}" if len(name) < 200 else None, files={name: "1"})
    for name in NO_JSON_PATHS:  # not text that JSON may hold here
        rig.refused(field="body", raw='{"language":"python","code":"1","files":{"%s":"1"}}' % name)
    # One bad name among good ones: nothing is run.
    rig.refused(field="files.../x", files={"good.txt": "1", "../x": "1"})
    odd = {"a b": "1", "d/é.txt": "2", "-rf": "3", "$(id)": "4", ";id": "5", "*": "6", "x" * 255: "7"}
    run = rig.run("python", "import os\nprint(sorted(os.path.join(b,f)[2:] for b,_,n in os.walk('.')"
                            " for f in n if f!='main.py'))", files=odd)
    want(run.out == f"{sorted(odd)}\n", "odd names arrive as they are", run.answer)
    run = rig.run("python", "import os\nopen(b'\\xff\\xfe','w').close()\nprint(os.listdir(b'.'))")
    want("\\xff\\xfe" in run.out, "a program may use names that are not text", run.answer)


def archives(rig):
    for field in ("archive", "tar", "zip"):
        rig.refused(field=field, **{field: "UEsDBA=="})


def symlink_outputs(rig):
    rig.refused(field="artifacts", artifacts=["out.txt"])


def nothing_on_host(rig):
    want(not os.path.lexists("/tmp/owned"), "/tmp/owned is not on the host")
    want(rig.run("rust", 'fn main(){println!("42")}').out == "42\n", "and Rust works")


def only_writable(run):
    OK(run)
    more = [p for p in run.lines if not p.startswith(MAY_WRITE) and p not in DEVICES]
    want(not more, "nothing else may be written", more)


def twice(rig):
    """Two runs of each: no file of the first is seen by the second."""
    for language, code in (("python", STAY), ("typescript", DENO_CACHE)):
        for _ in range(2):
            run = rig.run(language, code)
            OK(run)
            want("true" not in run.out.lower(), "nothing is there from before", run.answer)
    for _ in range(2):
        run = rig.run("rust", SPOIL)
        OK(run)
        want(run.out == "whole true\n", "the compiled program is whole", run.answer)


def rust(code, expect, **more):
    return program("rust", code, expect, **more)


def compile_error(*words):
    def check(run):
        ended("compile_error", "exit")(run)
        said = run.answer["compile"]["output"]
        want(run.answer["phase"] == "compile", "in the compile phase", run.answer)
        want(any(w in said for w in words), f"the compiler says one of {words}", run.answer)
        want("root:" not in said and "PATH=" not in said, "nothing of the file is shown", said)
    return check


def compile_limit(run):
    """A compiler without end meets a limit of its own."""
    a = run.answer
    want(a["phase"] == "compile" and a["status"] in ("memory", "timeout", "compile_error", "output_limit"),
         "ended in the compile phase by a limit or an error", a)


def rows(_):
    hidden = ("Permission denied", "No such file", "couldn't read")
    both_hidden = every(OK, lambda run: want(len(run.lines) == 2 and set(run.lines) <= {"13", "2", "1"},
                                             "an errno for both", run.answer))
    return [
        Row(31, "a symbolic link as output", [py(SYMLINKS, both_hidden), *probed(shadow=None, init_environ=None)],
            action=symlink_outputs),
        Row(32, "a directory swapped for a link in a loop", [py(RACE, TIMEOUT, timeout=1)]),
        Row(33, "links planted where the service writes",
            [py(PLANT, every(OK, says("planted\n"))), py(MOVE_HOME, every(OK, says("moved\n")))],
            action=nothing_on_host),
        Row(35, "a FIFO, a socket and devices as output",
            [py(SPECIAL, every(OK, says("1\n1\n")))]),
        Row(36, "file names", action=file_names),
        Row(37, "archives", action=archives, later="archive upload; there is none yet, so all are refused"),
        Row(38, "what one run leaves", [py(WRITABLE, only_writable, timeout=240)], action=twice),
        Row(40, "poisoned caches", [py(CACHES, every(OK, says_nothing))]),
        Row(41, "a compiler that reads and runs things", [
            rust('const S:&str = include_str!("/etc/shadow");\nfn main(){println!("{}",S)}',
                 compile_error(*hidden)),
            rust('const S:&[u8] = include_bytes!("/proc/1/environ");\nfn main(){println!("{:?}",S)}',
                 compile_error(*hidden)),
            rust('#[path="/etc/shadow"] mod x;\nfn main(){}', compile_error(*hidden)),
            rust('const S:&[u8] = include_bytes!("/dev/zero");\nfn main(){println!("{}",S.len())}',
                 compile_limit, timeout=3),
            rust("macro_rules! m{($($t:tt)*)=>{m!($($t)* $($t)* x)}}\nfn main(){m!(a)}", compile_limit, timeout=3),
        ]),
    ]
