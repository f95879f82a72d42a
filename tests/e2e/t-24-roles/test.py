"""The processes: who they are, what they gave up, how they come back, how they stop; readiness for systemd; a log that cannot block."""
import ctypes
import os
import pwd
import re
import signal
import socket
import subprocess
import time

import kit

ROLES = ["log", "resolver", "keeper", "lookup", "deliver", "local", "smtpc", "queue", "control", "smtpd"]


def status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def numbers(cores):
    """Processes of the roles that have several."""
    return {"smtpc": cores, "smtpd": cores + min(cores // 2, max(0, 16 - cores))}


def on_one_core(env):
    """As many processes as the cores that are left to Signet, not those of the machine."""
    s = env.signet("one", "", start=False)
    s.prefix = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    s.start()
    for role, n in numbers(1).items():
        kit.check(len(s.pids(role)) == n, "%s on one core: %s" % (role, s.pids(role)))
    s.stop()


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("ids can only be seen to change when started by root")
    path = env.path("notify")
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(path)
    ready.settimeout(30)
    os.environ["NOTIFY_SOCKET"] = path
    s = env.signet("mta", "memory_limit = 300000000\nnotify_classes =\n")
    del os.environ["NOTIFY_SOCKET"]
    kit.check(ready.recv(100) == b"READY=1", "systemd hears when every process is ready")
    owner = pwd.getpwnam(kit.owner()).pw_uid
    many = numbers(len(os.sched_getaffinity(0)))
    for role in ROLES:
        pids = s.pids(role)
        kit.check(len(pids) == many.get(role, 1), "%s: %s" % (role, pids))
        for pid in pids:
            st = status(pid)
            uids = set(st["Uid"].split())
            if role == "deliver":
                kit.check(uids == {"0"}, "deliver stays root")
                continue
            kit.check(uids <= {str(owner)} | {str(u.pw_uid) for u in pwd.getpwall() if u.pw_name in (kit.owner() + "-net", kit.owner() + "-keeper")}, "%s runs as %s" % (role, uids))
            kit.check(st["NoNewPrivs"] == "1", "%s: no new privileges" % role)
            kit.check(st["CapEff"].strip("0") == "" and st.get("Groups", "").strip() == "", "%s: no capabilities, no groups" % role)
            with open("/proc/%d/limits" % pid) as f:
                limits = f.read()
            kit.check(re.search(r"^Max data size +600000000 ", limits, re.M) or "build-asan" in kit.BUILD, limits)
    # Landlock: used where the kernel has it, said at the start where it has not
    has = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1) >= 1
    said = bool(s.has_log("without file system confinement"))
    kit.check(has != said, "kernel has Landlock: %s, the log says that it is missing: %s" % (has, said))
    # a process that dies comes back; one that dies at once waits longer each time
    for n in range(3):
        pid = kit.wait_until("a resolver", lambda: s.pids("resolver"))[0]
        os.kill(pid, signal.SIGKILL)
        s.wait_log(r"process resolver\[%d\] ended by signal 9" % pid)
        kit.wait_until("another resolver", lambda: s.pids("resolver") and s.pids("resolver") != [pid])
    s.wait_log(r"resolver died soon after its start \(2 times in a row\): next try in \d+ s")
    # a logger that stands still holds nobody up
    logger = s.pids("log")[0]
    os.kill(logger, signal.SIGSTOP)
    start = time.monotonic()
    for _ in range(20):
        kit.check(kit.send(rcpts="user@[127.0.0.9]").startswith("250 "), "mail is accepted while the log is stuck")
    kit.check(time.monotonic() - start < 20, "and not slowly")
    os.kill(logger, signal.SIGCONT)
    s.wait_log(r"to=<user@\[127\.0\.0\.9\]>")
    start = time.monotonic()
    s.stop()
    kit.check(time.monotonic() - start < 12, "a clean stop within seconds")
    left = subprocess.run(["pgrep", "-f", s.conf], stdout=subprocess.PIPE).stdout
    kit.check(not left, "nothing is left running")
    on_one_core(env)
