#!/usr/bin/env python3
"""make bench: relay rate and CPU beside Postfix in the same run on the same file system, memory of idle sessions.

Each MTA takes messages of 10 kB on 127.0.0.1 and relays them to a sink (tests/bench/smtpbench.c). Rate: messages per second
from the first to the last one arriving at the sink. CPU: user and system time of all processes of the MTA (children that ended
included) per 1000 messages. SIGNET_BENCH_RUNS (5), SIGNET_BENCH_MESSAGES (8000), SIGNET_BENCH_DIR (a directory on the
file system to measure) change the defaults. Needs root, for Postfix. Prints both configurations and their fsync counts.
"""
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import kit  # noqa: E402

BUILD = os.environ.get("SIGNET_BUILD", os.path.join(TOP, "build"))
BENCH = os.path.join(BUILD, "smtpbench")
RUNS = int(os.environ.get("SIGNET_BENCH_RUNS", "5"))
MESSAGES = int(os.environ.get("SIGNET_BENCH_MESSAGES", "8000"))
SESSIONS = 50
IN, OUT = 3025, 3026

SIGNET_MAIN = """\
compatibility_level = 3.10
queue_directory = {dir}/spool
data_directory = {dir}/data
maillog_file = {dir}/mail.log
maillog_file_prefixes = /
mail_owner = {owner}
myhostname = signet.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
relayhost = [127.0.0.1]:{out}
{tls}"""

POSTFIX_MAIN = """\
compatibility_level = 3.10
queue_directory = {dir}/spool
data_directory = {dir}/data
maillog_file = {dir}/mail.log
maillog_file_prefixes = /
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
relayhost = [127.0.0.1]:{out}
{tls}"""

# what Postfix's TUNING_README and STRESS_README advise for this load
POSTFIX_TUNED = """\
in_flow_delay = 0
default_process_limit = 200
smtp_destination_concurrency_limit = 50
initial_destination_concurrency = 50
smtp_connection_cache_destinations = 127.0.0.1
qmgr_message_active_limit = 40000
max_use = 1000
"""

SIGNET_TUNED = """\
smtp_destination_concurrency_limit = 50
initial_destination_concurrency = 50
"""

TLS = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtp_tls_security_level = encrypt
smtp_tls_connection_reuse = yes
"""


def wait_port(port, deadline=20):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nothing listens on port %d" % port)


class Mta:
    """One MTA in a folder of its own; cpu() is the time of all its processes, once it has stopped."""
    def __init__(self, name, work, main_cf, tls, certs):
        self.name, self.dir = name, os.path.join(work, name + ("-tls" if tls else ""))
        os.makedirs(os.path.join(self.dir, "etc"), exist_ok=True)
        self.conf = os.path.join(self.dir, "etc")
        tls_text = TLS.format(cert=certs[0], key=certs[1]) if tls else ""
        self.main = main_cf.format(dir=self.dir, out=OUT, owner=kit.owner(), tls=tls_text)
        with open(os.path.join(self.conf, "main.cf"), "w") as f:
            f.write(self.main)
        with open(os.path.join(self.conf, "master.cf"), "w") as f:
            f.write(kit.MASTER_CF.format(smtp="127.0.0.1:%d" % IN) +
                    ("postlog unix-dgram n - n - 1 postlogd\nscache unix - - n - 1 scache\ntlsproxy unix - - n - 0 tlsproxy\n" if "postfix" in name else ""))
        if "postfix" in name:
            for d in ("spool", "data"):
                os.makedirs(os.path.join(self.dir, d), exist_ok=True)
            shutil.chown(os.path.join(self.dir, "data"), "postfix")

    def argv(self):
        if "postfix" in self.name:
            return ["postfix", "-c", self.conf, "start-fg"]
        return [os.path.join(BUILD, "src", "signetd"), "-c", self.conf]

    def start(self, strace=None):
        argv = (["strace", "-f", "-c", "-o", strace, "-e", "trace=fsync,fdatasync,sync_file_range,syncfs"] if strace else []) + self.argv()
        self.strace = strace
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_port(IN)
        time.sleep(0.5)

    def stop(self):
        if "postfix" in self.name:
            subprocess.run(["postfix", "-c", self.conf, "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            for pid in [self.p.pid] if self.strace is None else children(self.p.pid):
                os.kill(pid, signal.SIGTERM)
        self.p.wait(60)


def children(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(pid))
        except OSError:
            continue
    return found


def tree_cpu(root):
    """User and system seconds of a process, its descendants, and those of them that ended and were waited for."""
    tick = os.sysconf("SC_CLK_TCK")
    parents, times = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(pid)] = int(fields[1])
        times[int(pid)] = sum(int(x) for x in fields[11:15]) / tick
    total = 0
    for pid in times:
        at = pid
        while at in parents and at != root and at > 1:
            at = parents[at]
        if at == root:
            total += times[pid]
    return total


def one_run(mta, tls, certs, messages):
    sink = subprocess.Popen([BENCH, "sink", str(OUT), "-n", str(messages)] + (["-C", certs[0], "-K", certs[1]] if tls else []),
                            stdout=subprocess.PIPE, text=True)
    wait_port(OUT)
    mta.start()
    cpu0 = tree_cpu(mta.p.pid)
    source = subprocess.run([BENCH, "source", str(IN), "-n", str(messages), "-s", str(SESSIONS), "-l", "10000"] + (["-t"] if tls else []),
                            stdout=subprocess.PIPE, text=True, timeout=600)
    try:
        out, _ = sink.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        sink.kill()
        out = ""
    cpu = tree_cpu(mta.p.pid) - cpu0
    mta.stop()
    if source.returncode != 0 or not out:
        raise SystemExit("%s: the run did not finish (see %s)" % (mta.name, mta.dir))
    return json.loads(out)["rate"], cpu * 1000 / messages


def fsyncs(mta, tls, certs, messages=400):
    if shutil.which("strace") is None:
        return None
    trace = os.path.join(mta.dir, "strace")
    sink = subprocess.Popen([BENCH, "sink", str(OUT), "-n", str(messages)] + (["-C", certs[0], "-K", certs[1]] if tls else []), stdout=subprocess.DEVNULL)
    wait_port(OUT)
    mta.start(trace)
    subprocess.run([BENCH, "source", str(IN), "-n", str(messages), "-s", str(SESSIONS), "-l", "10000"] + (["-t"] if tls else []),
                   stdout=subprocess.DEVNULL, timeout=600)
    sink.wait(600)
    mta.stop()
    with open(trace) as f:
        text = f.read()
    rows = [line.split() for line in text.splitlines()]  # % time, seconds, usecs/call, calls, [errors,] syscall
    return {r[-1]: int(r[3]) for r in rows if len(r) >= 5 and r[-1] in ("fsync", "fdatasync", "syncfs", "sync_file_range")}, messages


def show(name, tls, results):
    rates, cpus = zip(*results)
    print("%-22s %-5s  %7.0f msg/s  [%.0f .. %.0f]   CPU %6.3f s/1000  [%.3f .. %.3f]" % (
        name, "TLS" if tls else "plain", statistics.median(rates), min(rates), max(rates),
        statistics.median(cpus), min(cpus), max(cpus)), flush=True)
    return statistics.median(rates), statistics.median(cpus)


def slab_kb():
    with open("/proc/meminfo") as f:
        text = f.read()
    with open("/proc/net/sockstat") as f:
        mem = re.search(r"TCP:.* mem (\d+)", f.read())
    return sum(int(re.search(r"%s:\s+(\d+)" % k, text).group(1)) for k in ("SUnreclaim", "KernelStack")) + int(mem.group(1)) * 4


def private_kb(pids):
    total = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            text = f.read()
        total += sum(int(m) for m in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.M))
    return total


def idle_memory(work, certs, sessions=2000):
    print("\nMemory of idle sessions (EHLO done, %d at once), Signet:" % sessions)
    for tls in (False, True):
        mta = Mta("signet-idle", work, SIGNET_MAIN, tls, certs)
        mta.start()
        pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and is_role(int(p), mta.p.pid, "smtpd")]
        before, kernel = private_kb(pids), slab_kb()
        p = subprocess.Popen([BENCH, "idle", str(IN), "-s", str(sessions)] + (["-t"] if tls else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdout.readline()
        time.sleep(1)
        print("  %-5s  %5.1f kB a session in smtpd; kernel, both ends: %.1f kB" % (
            "TLS" if tls else "plain", (private_kb(pids) - before) / sessions, (slab_kb() - kernel) / sessions), flush=True)
        p.stdin.close()
        p.wait(60)
        mta.stop()


def handshakes(work, certs, messages=1000):
    """A connection for each message: how many handshakes are resumed when the peer hands out tickets, and what that is worth."""
    print("\nOutbound handshakes, one for each of %d messages, Signet:" % messages)
    for what, extra in (("resumed where the peer allows", ""), ("full ones only", "smtp_tls_session_cache_timeout = 0\n")):
        mta = Mta("signet-" + what.split()[0], work, SIGNET_MAIN + SIGNET_TUNED + "smtp_tls_connection_reuse = no\n" + extra, True, certs)
        sink = subprocess.Popen([BENCH, "sink", str(OUT), "-n", str(messages), "-C", certs[0], "-K", certs[1]], stdout=subprocess.PIPE, text=True)
        wait_port(OUT)
        mta.start()
        cpu = tree_cpu(mta.p.pid)
        subprocess.run([BENCH, "source", str(IN), "-n", str(messages), "-s", str(SESSIONS), "-l", "1000"], stdout=subprocess.DEVNULL, timeout=300)
        out, _ = sink.communicate(timeout=300)
        cpu = tree_cpu(mta.p.pid) - cpu
        status = json.loads(subprocess.run([os.path.join(BUILD, "src", "signet"), "-c", mta.conf, "status", "--json"], stdout=subprocess.PIPE, text=True).stdout)
        tls = [r["tls"] for r in status["roles"] if r["role"] == "smtpc"]
        mta.stop()
        print("  %-30s %6d handshakes, %6d resumed, %6d with forward secrecy; %5.0f msg/s, CPU %.3f s/1000" % (
            what, sum(t["handshakes"] for t in tls), sum(t["resumed"] for t in tls), sum(t["forward_secret"] for t in tls),
            json.loads(out)["rate"], cpu * 1000 / messages), flush=True)


def is_role(pid, parent, role):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            argv = f.read().split(b"\0")
        with open("/proc/%d/stat" % pid) as f:
            return argv[1:3] == [b"--role", role.encode()] and int(f.read().rsplit(")", 1)[1].split()[1]) == parent
    except (OSError, IndexError):
        return False


def main():
    if os.geteuid() != 0:
        raise SystemExit("make bench needs root (Postfix is measured beside Signet)")
    if os.environ.get("SIGNET_BENCH_INSIDE") is None:  # a network namespace of its own: nobody else's ports
        os.environ["SIGNET_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable] + sys.argv)
    work = tempfile.mkdtemp(prefix="signet-bench-", dir=os.environ.get("SIGNET_BENCH_DIR"))
    os.chmod(work, 0o755)
    env = kit.Env(os.path.join(work, "kit"))
    certs = env.cert("localhost")
    os.chmod(certs[1], 0o644)
    version = subprocess.run(["postconf", "-d", "-h", "mail_version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    fs = subprocess.run(["df", "--output=fstype", work], stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    print("%d messages of 10 kB, %d sessions in, %d runs: median [lowest .. highest]; Postfix %s; file system %s; %d cores\n" % (
        MESSAGES, SESSIONS, RUNS, version, fs, os.cpu_count()))
    kinds = [("signet", SIGNET_MAIN + SIGNET_TUNED), ("postfix-tuned", POSTFIX_MAIN + POSTFIX_TUNED), ("postfix-stock", POSTFIX_MAIN)]
    medians = {}
    for tls in (False, True):
        results = {name: [] for name, _ in kinds}
        for run in range(RUNS):
            for name, main_cf in kinds:
                if name == "postfix-stock" and run >= 2 and RUNS > 2:
                    continue  # in_flow_delay makes it slow; two runs show it
                n = MESSAGES if name == "signet" else max(MESSAGES // 4, 500) if name == "postfix-tuned" else 300
                results[name].append(one_run(Mta(name, work, main_cf, tls, certs), tls, certs, n))
        for name, _ in kinds:
            medians[name, tls] = show(name, tls, results[name])
        s, p = medians["signet", tls], medians["postfix-tuned", tls]
        print("  -> %.1f x the rate of tuned Postfix at 1/%.1f of its CPU per message\n" % (s[0] / p[0], p[1] / s[1] if s[1] else 0))
    for name, main_cf in kinds[:2]:
        counted = fsyncs(Mta(name, work, main_cf, False, certs), False, certs)
        if counted:
            print("%s: %s for %d messages (under strace)" % (name, counted[0], counted[1]))
    idle_memory(work, certs)
    handshakes(work, certs)
    print("\nConfigurations:")
    for name, main_cf in kinds:
        print("--- %s main.cf\n%s" % (name, main_cf.format(dir="DIR", out=OUT, owner="signet", tls="(TLS runs:)\n" + TLS.format(cert="CERT", key="KEY"))))
    env.close()
    shutil.rmtree(work, ignore_errors=True)


main()
