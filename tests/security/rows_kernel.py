# SPDX-License-Identifier: Apache-2.0
"""Privileges and what of the kernel a program reaches."""
import ast
import concurrent.futures
import json
import time

from host import owner
from model import OK, Row, any_of, ended, every, probed, py, says, want

SETUID = """
import os,subprocess
print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0])
try: os.setuid(0); print('ROOT')
except OSError as e: print(e.errno in (1,22))
print(all('nosuid' in l.split()[5].split(',') for l in open('/proc/self/mountinfo')))
found=subprocess.run('find / -xdev -perm -4000 2>/dev/null|head -20',shell=True,capture_output=True,
                     text=True).stdout.split()
for p in found:
    subprocess.run([p,'-c','id'],input='',capture_output=True,text=True,timeout=5)
for p in ('/usr/bin/su','/usr/bin/sudo'):
    if p in found:
        args=[p,'-n','id'] if p.endswith('sudo') else [p,'-c','id']
        r=subprocess.run(args,input='',capture_output=True,text=True,timeout=5)
        print(p,r.returncode!=0,'uid=0' in r.stdout)
"""
STATUS = """
print([x for x in open('/proc/self/status') if x[:3] in ('Cap','Sec','Uid','Gid')])
"""
CTYPES = "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\n"
UNSHARE = CTYPES + """
print(l.unshare(0x10000000),ctypes.get_errno()); print(l.unshare(0x00020000),ctypes.get_errno())
"""
# The same by clone, the flags under other flags, and by setns.
CLONE = CTYPES + """
import os
for flag in (0x10000000,0x20000000,0x40000000,0x00020000,0x02000000,0x08000000,0x04000000):
    pid=l.syscall(56,flag|17,0,0,0,0)
    if pid==0: os._exit(0)
    print(pid,ctypes.get_errno())
for name in ('user','mnt','net','pid'):
    fd=os.open('/proc/self/ns/'+name,os.O_RDONLY)
    print(l.setns(fd,0),ctypes.get_errno())
print(l.syscall(435,0,0),ctypes.get_errno())
"""
MOUNT = CTYPES + """
print(l.mount(b'none',b'/mnt',b'tmpfs',0,None),ctypes.get_errno()); print([l.syscall(n,0,0,0,0,0) for n in (428,429,430,442)])
print(l.syscall(155,b'/tmp',b'/tmp'),ctypes.get_errno()); print(l.chroot(b'/tmp'),ctypes.get_errno())
"""
FDS = """
import os
for f in sorted(os.listdir('/proc/self/fd'),key=int):
    try: print(f,os.readlink('/proc/self/fd/'+f))
    except OSError: pass
"""
EXE = """
import os
for p,f in (('/proc/1/exe',os.O_RDONLY),('/proc/self/exe',os.O_WRONLY),('/proc/self/exe',os.O_RDWR)):
    try: os.open(p,f); print('OPENED',p)
    except OSError as e: print(e.errno)
"""
SYSCTLS = """
import os
for p in ('/proc/sys/kernel/core_pattern','/proc/sysrq-trigger','/proc/sys/fs/binfmt_misc/register','/sys/kernel/uevent_helper','/proc/sys/kernel/modprobe','/proc/sys/vm/drop_caches','/proc/sys/kernel/ns_last_pid','/sys/fs/cgroup/cgroup.procs'):
    try:
        with open(p,'w') as f: f.write('x')
        s=os.stat(p)
        print('NULL' if os.path.exists('/dev/null') and s.st_rdev==os.makedev(1,3) else 'WROTE',p)
    except OSError as e: print(e.errno,p)
"""
PTRACE = CTYPES + """
import os
pids=[int(p) for p in os.listdir('/proc') if p.isdigit()]
for pid in [1]+pids:
    if pid!=os.getpid() and l.ptrace(16,pid,0,0)==0: print('ATTACHED',pid)
buf=ctypes.create_string_buffer(8); iov=(ctypes.c_void_p*2)(ctypes.addressof(buf),8)
for pid in pids:
    if pid!=os.getpid() and l.process_vm_readv(pid,iov,1,iov,1,0)>0: print('READ',pid)
print(sorted(set(pids)-{1,os.getpid()}))
"""
AGENT = """
import os
for p in ('/proc/1/mem','/proc/1/environ','/proc/1/maps','/proc/1/root/etc/shadow','/proc/1/fd','/proc/1/cwd/','/proc/1/stack'):
    try:
        print(os.listdir(p) if p.endswith('fd') else open(p,'rb').read(64))
    except OSError as e: print(e.errno)
"""
KEYS = CTYPES + """
print(l.syscall(248,b'user',b'leak',b'v',1,-5),ctypes.get_errno(),l.syscall(250,0,-3,1),ctypes.get_errno())
"""
IO_URING = CTYPES + """
print(l.syscall(425,8,ctypes.create_string_buffer(120)),ctypes.get_errno())
"""
# bpf, perf_event_open, userfaultfd, kexec_load, init_module; then finit_module, kexec_file_load,
# open_by_handle_at, quotactl, reboot, swapon, acct, iopl, fanotify_init, syslog.
KERNEL = CTYPES + """
print([(n,l.syscall(n,0,ctypes.create_string_buffer(128),0,0,0),ctypes.get_errno()) for n in (321,298,323,246,175,313,320,304,179,169,167,163,172,300,103)])
"""
X32 = CTYPES + """
print(l.syscall(0x40000000|39),ctypes.get_errno())
"""
# getpid of the 32-bit table, by int 0x80. No result, an error, or the end of the program.
INT80 = """
import ctypes,mmap
m=mmap.mmap(-1,4096,prot=mmap.PROT_READ|mmap.PROT_WRITE|mmap.PROT_EXEC)
m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')
f=ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
print(f())
"""
CORE = """
import os,resource
print(resource.getrlimit(resource.RLIMIT_CORE),flush=True)
resource.setrlimit(resource.RLIMIT_CORE,(resource.RLIM_INFINITY,)*2) if resource.getrlimit(resource.RLIMIT_CORE)[1]==-1 else None
os.abort()
"""

# What of others is seen by watching files that all runs have: inotify, a directory's signals, leases.
WATCH = CTYPES + """
import fcntl,os
print(l.inotify_init1(0),ctypes.get_errno())
d=os.open('/usr/bin',os.O_RDONLY)
f=os.open('/etc/hosts',os.O_RDONLY)
for fd,cmd,arg in ((d,1026,1),(f,1024,fcntl.F_RDLCK),(f,1024,fcntl.F_WRLCK)):
    try: print(fcntl.fcntl(fd,cmd,arg))
    except OSError as e: print('-1',e.errno)
"""
# Sockets of a family are made before it is seen that it has no pairs; one, TIPC, has.
PAIRS = CTYPES + """
two=(ctypes.c_int*2)()
for family in range(48):
    for kind in (1,2,3,4,5):
        if family!=1: print(l.syscall(53,family,kind,0,two),ctypes.get_errno())
print(l.syscall(53,ctypes.c_ulong(1<<32|1),1,0,two),ctypes.get_errno())
"""
# All the signals that may wait, and all message queues: none is to be missed by anybody else.
SIGNALS = CTYPES + """
import os,signal
signal.pthread_sigmask(signal.SIG_BLOCK,[40])
n=0
while n<200000 and l.sigqueue(os.getpid(),40,None)==0: n+=1
print(n)
timers=0
t=ctypes.c_void_p()
class E(ctypes.Structure): _fields_=[('value',ctypes.c_void_p),('signo',ctypes.c_int),('notify',ctypes.c_int),('pad',ctypes.c_char*48)]
e=E(None,40,0)
while timers<200000 and l.timer_create(1,ctypes.byref(e),ctypes.byref(t))==0: timers+=1
print(timers)
queues=0
while queues<1000 and l.mq_open(b'/q%d'%queues,0o102,0o600,None)>=0: queues+=1
print(queues)
"""
# Modules that a socket's type or a terminal brings, memory merged with others', a core to oneself.
BESIDE = CTYPES + """
import mmap,os,socket
for family in (2,10):
    for kind in (4,5,6,10,6|0x80000):
        print(l.socket(family,kind,0),ctypes.get_errno())
master,terminal=os.openpty()
for line in (2,13,21,24):
    print(l.ioctl(master,0x5423,ctypes.byref(ctypes.c_int(line))),ctypes.get_errno())
m=mmap.mmap(-1,1<<20)
print(l.madvise(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))),ctypes.c_size_t(1<<20),12),ctypes.get_errno())
print(l.prctl(62,1,0,0,0),ctypes.get_errno())
"""
# Locks of open files have no pid that /proc could leave them out by.
LOCKS = """
print(open('/proc/locks').read(),end='')
"""
# Namespaces other than the own, by everything that names one: pidfds, /proc, statmount and listmount.
NAMESPACES = CTYPES + """
import fcntl,os,struct
init=os.pidfd_open(1)
for nr in range(1,11):
    try: print(fcntl.ioctl(init,0xff00|nr))
    except OSError as e: print('-1',e.errno)
for name in ('user','mnt','net','pid','ipc','uts','cgroup'):
    fd=os.open('/proc/self/ns/'+name,os.O_RDONLY)
    for nr in (1,2):
        try:
            other=os.fstat(fcntl.ioctl(fd,0xb700|nr)).st_ino
            print('-1 1' if other==os.stat('/proc/self/ns/user').st_ino else f'OPENED {name} {nr}')
        except OSError as e: print('-1',e.errno)
    try: os.readlink('/proc/1/ns/'+name); print('READ',name)
    except OSError as e: print('-1',e.errno)
own=os.stat('/proc/self/ns/mnt').st_ino
ids=(ctypes.c_uint64*64)()
for ns in [*range(1,200),*range(0xEFFFFFF0,0xF0000400)]:
    if ns!=own and l.syscall(458,struct.pack('IIQQQ',32,0,2**64-1,0,ns),ids,64,0)>0: print('LISTED',ns)
"""
# More of the processors than others get: real time, deadlines, priorities, I/O classes; and less risk when memory
# is out.
FAVOURS = CTYPES + """
import os,struct
for policy in (1,2):
    try: os.sched_setscheduler(0,policy,os.sched_param(1)); print('SCHEDULED',policy)
    except OSError as e: print('-1',e.errno)
attr=struct.pack('IIQiIQQQ',48,6,0,0,0,10**6,10**7,10**7)
print(l.syscall(314,0,attr,0),ctypes.get_errno())
print(l.syscall(251,1,0,1<<13),ctypes.get_errno())
print(l.setpriority(0,0,os.getpriority(0,0)-1),ctypes.get_errno())
now=int(open('/proc/self/oom_score_adj').read())
print('SPARED' if now<0 else '-1 1')
f=os.open('/proc/self/oom_score_adj',os.O_WRONLY)
try: os.write(f,str(now-1).encode()); print('LOWERED')
except OSError as e: print('-1',e.errno)
"""

EARLY = """
import os
s=open('/proc/self/status').read()
print('early',os.getuid()!=0,'NoNewPrivs:\\t1' in s,'Seccomp:\\t2' in s,'CapEff:\\t0000000000000000' in s)
"""
EARLY_OUT = "early True True True True\n"


def errnos(*allowed):
    """Every line of the output is one of these."""
    return every(OK, lambda run: want(run.lines and set(run.lines) <= set(allowed),
                                      f"only lines of {allowed}", run.answer))


def agent_closed(run):
    """Without uids of their own, programs see how many descriptors their init has, and nothing of them."""
    numbers = () if run.world.root or run.world.isolation == "microvm" else ("['0']",)
    if numbers:
        run.world.weaker.add("hiding the numbers of init's descriptors (one uid for all)")
    errnos("13", "2", "1", *numbers)(run)


def no_privileges(run):
    OK(run)
    status = {line.split(":\\t")[0].strip("[' "): line.split(":\\t")[1] for line in run.out.split("', '")}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        want(status[name].strip("\\n'] ").strip("0") == "", f"{name} is empty", status)
    want(status["Seccomp"].startswith("2"), "a system call filter", status)
    want("0" not in status["Uid"].replace("\\n", "").split("\\t"), "not root", status)


def setuid_useless(run):
    OK(run)
    want(run.lines[:3] == ["1", "True", "True"], "no_new_privs, EPERM or EINVAL, nosuid on every mount", run.answer)
    want(all(line.endswith("True False") for line in run.lines[3:]), "su and sudo fail", run.answer)


def three_files(run):
    """Standard input, output and error, which are pipes or nothing; no socket, no directory."""
    OK(run)
    files = dict(line.split(" ", 1) for line in run.lines)
    want(set(files) == {"0", "1", "2"}, "three descriptors", files)
    want(all(to.startswith("pipe:") or to == "/dev/null" for to in files.values()), "pipes", files)


def refused_writes(run):
    OK(run)
    for line in run.lines:
        word = line.split()[0]
        want(word == "NULL" or word in ("1", "2", "13", "30"), "an errno, or a file that is /dev/null", line)


def all_denied(run):
    OK(run)
    for number, result, error in ast.literal_eval(run.out):
        want(result == -1 and error in (1, 13, 38), "EPERM, EACCES or ENOSYS", (number, result, error))


def no_core(run):
    ended("killed", "signal", signal="SIGABRT")(run)
    soft, hard = run.out.strip().strip("()").split(", ")
    want(soft == hard and int(hard) in (0, 1), "no core", run.answer)


def own_uid(rig):
    """On the host each run is a user of its own, and none is root or the daemon."""
    code = "print('here',flush=True)\nimport time\ntime.sleep(3)"
    daemon = owner(rig.service.daemon_pid())
    name = "qemu" if rig.world.isolation == "microvm" else "python3"
    seen = {}

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(rig.run, "python", code) for _ in range(2)]
        while not all(run.done() for run in runs):
            seen.update((pid, owner(pid)) for pid in rig.service.pids(name))
            time.sleep(0.05)
        for run in runs:
            run.result()
    uids = {pid: uid for pid, uid in seen.items() if uid is not None}
    want(0 not in uids.values() or not rig.world.root, "nothing of a run is root on the host", uids)
    if rig.world.root:
        want(daemon not in uids.values() and daemon != 0, "nor the daemon's user", (daemon, uids))
        want(len(set(uids.values())) > 1, "and there is more than one", uids)


def early_code(rig):
    """Whatever runs before the program runs as the program: there is nothing before the walls."""
    for field in ("preload", "setup", "pre_exec", "entrypoint", "wrapper"):
        rig.refused(field=field, **{field: "import os; os.system('id')"})
    for name in ("sitecustomize.py", "usercustomize.py"):
        run = rig.run("python", "print(6*7)", files={name: EARLY}, env={"PYTHONPATH": "/work"})
        OK(run)
        want(run.out.replace(EARLY_OUT, "") == "42\n", "it is confined already", run.answer)
    # A module beside the program shadows the library only for the program.
    run = rig.run("python", "import random", files={"random.py": EARLY, "json.py": EARLY})
    want(run.out in (EARLY_OUT, ""), "so it is with modules", run.answer)
    run = rig.run("bash", "echo $((6*7))", files={"e": "grep -c 'Seccomp:.2' /proc/self/status; id -u"},
                  env={"BASH_ENV": "/work/e", "ENV": "/work/e"})
    want(run.out == "1\n1000\n42\n" or run.out == "42\n", "and in a shell", run.answer)


def few_signals(run):
    OK(run)
    waiting, timers, queues = map(int, run.lines)
    want(0 < waiting <= 512 and timers <= 512, "as many as one run may have", run.answer)
    want(queues == 0, "no message queues", run.answer)


def hostile_environment(rig):
    env = {"LD_PRELOAD": "/work/x.so", "LD_LIBRARY_PATH": "/work", "PYTHONSTARTUP": "/work/x",
           "NODE_OPTIONS": "--require /work/x", "BASH_ENV": "/work/x", "GLIBC_TUNABLES": "x",
           "IFS": "/", "PS4": "$(id)", "HOME": "/proc/1", "TMPDIR": "/proc"}
    for language, code in (("python", "print(6*7)"), ("typescript", "console.log(6*7)"),
                           ("bash", "echo $((6*7))"), ("rust", 'fn main(){println!("{}",6*7)}')):
        run = rig.run(language, code, env=env, files={"x.so": "\x7fELF not a library", "x": "exit 1"})
        want(run.answer["status"] in ("ok", "error"), "an ordinary end", run.answer)
        want(run.answer["compile"] is None or run.answer["compile"]["success"],
             "the compiler does not see it", run.answer)
        want("42" in run.out or run.answer["status"] == "error", "42, or the interpreter's own error",
             run.answer)
    for name in ("A=B", "", "A B", "A\n", "1A", "CSB_X", "Ä"):
        rig.refused(field=f"env.{name}", env={name: "x"})
    rig.refused(field="env.A", env={"A": "x\0y"})
    rig.refused(field="env.A", env={"A": 1})
    # Other control characters are text: they arrive as they are and go nowhere else.
    text = "".join(map(chr, range(1, 32))) + "\x7f\nLD_PRELOAD=/x"
    run = rig.run("python", "import os,json\nprint(json.dumps(os.environ['A']))", env={"A": text})
    want(json.loads(run.out) == text, "a value arrives as it is", run.answer)


def shared_rows():
    """What only a kernel that is shared with others can tell or take."""
    minus = "-1 1"
    return [
        Row(92, "watching files that all runs have", [py(WATCH, errnos("-1 38", "-1 22"))]),
        Row(93, "pairs of sockets", [py(PAIRS, errnos(minus))]),
        Row(94, "signals and queues that others need", [py(SIGNALS, few_signals)]),
        Row(99, "modules, merged memory and cores", [py(BESIDE, errnos(minus, "-1 22"))]),
        Row(95, "locks of others", [py(LOCKS, every(OK, says("")))]),
        Row(96, "namespaces by descriptor and number", [py(NAMESPACES, errnos(
            "-1 1", "-1 13", "-1 22", "-1 25", "-1 95"))]),
        Row(97, "favours of the scheduler and of the memory killer", [py(FAVOURS, errnos(
            "-1 1", "-1 13"))]),
    ]


def rows(isolation):
    minus = "-1 1"
    return [
        *(shared_rows() if isolation == "process" else ()),
        Row(43, "setuid", [py(SETUID, setuid_useless, timeout=60), *probed(setuid=None)]),
        Row(44, "capabilities and filter", [py(STATUS, no_privileges)], action=own_uid),
        Row(45, "new namespaces", [py(UNSHARE, errnos(minus)), py(CLONE, errnos(minus, "-1 38")),
                                   *probed(unshare_user=None, unshare_mount=None)]),
        Row(46, "mounting", [py(MOUNT, errnos(minus, "[-1, -1, -1, -1]")), *probed(mount=None)]),
        Row(48, "inherited descriptors", [py(FDS, three_files)]),
        Row(49, "the runtime's executable", [py(EXE, errnos("13", "2", "26", "30"))]),
        Row(50, "sysctl, sysrq, core_pattern, binfmt", [py(SYSCTLS, refused_writes)]),
        Row(52, "ptrace of others", [py(PTRACE, every(OK, says("[]\n"))), *probed(ptrace_init=None)]),
        Row(53, "the agent's memory, environment and files", [py(AGENT, agent_closed)]),
        Row(54, "keyrings", [py(KEYS, errnos("-1 1 -1 1", "-1 38 -1 38")), probed(keyctl=None)[1]]),
        Row(55, "io_uring", [py(IO_URING, errnos("-1 38", "-1 1")), *probed(io_uring=None)]),
        Row(56, "bpf, perf, userfaultfd, kexec, modules",
            [py(KERNEL, every(all_denied)), *probed(bpf=None)]),
        Row(57, "other system call tables",
            [py(X32, any_of(errnos("-1 38"), ended("killed", signal="SIGSYS"))), probed(x32="38")[1],
             py(INT80, any_of(errnos("-38"), ended("killed", signal="SIGSYS"),
                              ended("killed", signal="SIGSEGV")))]),
        Row(59, "core dump", [py(CORE, no_core)], later="" if isolation == "microvm" else (
            "a way to refuse dumps that core_pattern pipes to a program of the host")),
        Row(60, "hostile environment", action=hostile_environment),
        Row(61, "code before the walls", action=early_code),
    ]
