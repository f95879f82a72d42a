#!/usr/bin/env python3
"""make bench-queue: a million deferred messages for ten thousand destinations, then a start.

Prints how long it takes until a client is greeted and until its message is acknowledged, until all of the spool is known, the
queue's memory for each message, how fast fresh mail flows beside them, and what the retry of ten thousand dead destinations
costs a live one. SIGNET_BENCH_QUEUED (1000000) and SIGNET_BENCH_DIR change the defaults.
"""
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import kit  # noqa: E402

BUILD = os.environ.get("SIGNET_BUILD", os.path.join(TOP, "build"))
QUEUED = int(os.environ.get("SIGNET_BENCH_QUEUED", "1000000"))
DESTINATIONS = 10000
MAIN = """\
transport_maps = inline:{ { live.example = smtp:[127.0.0.1]:3026 } }
default_transport = smtp
queue_run_delay = 1s
"""


def fill(s, wait_s, count):
    owner = pwd.getpwnam(kit.owner())
    shutil.rmtree(s.queue, ignore_errors=True)
    os.makedirs(s.queue)
    os.chmod(s.queue, 0o755)
    start = time.monotonic()
    subprocess.run([os.path.join(BUILD, "spoolfill"), s.queue, str(count), str(DESTINATIONS), str(wait_s), str(owner.pw_uid), str(owner.pw_gid)],
                   check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int([line.split()[1] for line in f if line.startswith("VmRSS")][0])


def send_live():
    start = time.monotonic()
    kit.send(rcpts=["x@live.example"])
    return time.monotonic() - start


def find(tree, key):
    """The first value of that name anywhere in the status."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    for v in tree if isinstance(tree, list) else []:
        got = find(v, key)
        if got is not None:
            return got
    return None


def until(what, probe, deadline):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if probe():
            return
        time.sleep(0.02)
    raise SystemExit("waited %d s for %s" % (deadline, what))


def greeted_and_taken(s):
    start = time.monotonic()
    s.start(wait=False)

    def greeting():
        try:
            with socket.create_connection(("127.0.0.1", 25), 5) as c:
                c.settimeout(5)
                return c.recv(3) == b"220"
        except OSError:
            return False
    until("a greeting", greeting, 60)
    first = time.monotonic() - start
    send_live()
    return start, first, time.monotonic() - start


def quiet_million(env, s):
    """Nothing is due: the cost of knowing them all."""
    print("%d messages of 300 bytes for %d destinations; made in %.0f s" % (QUEUED, DESTINATIONS, fill(s, 36000, QUEUED)), flush=True)
    start, first, taken = greeted_and_taken(s)
    pid = s.pids("queue")[0]
    print("  start to the greeting %.2f s, to the first 250 %.2f s" % (first, taken), flush=True)
    until("the scan", lambda: find(s.status(), "deferred") >= QUEUED, 600)
    print("  all known after %.1f s; queue process %.0f MB, %.0f bytes a message" % (
        time.monotonic() - start, rss_kb(pid) / 1024, rss_kb(pid) * 1024 / QUEUED), flush=True)
    begin = time.monotonic()
    for _ in range(500):
        send_live()
    print("  500 fresh messages, one after the other: %.1f ms each until their 250" % ((time.monotonic() - begin) * 2), flush=True)
    begin = time.monotonic()
    lines = subprocess.run([os.path.join(BUILD, "src", "signet"), "-c", s.conf, "queue", "list", "--json"], stdout=subprocess.PIPE).stdout.count(b"\n")
    print("  signet queue list: %d lines in %.1f s" % (lines, time.monotonic() - begin), flush=True)
    begin = time.monotonic()
    s.stop()
    print("  stop %.2f s" % (time.monotonic() - begin), flush=True)


def retries(env, s, sink):
    """Ten thousand dead destinations are all due at once: what does a live one see?"""
    fill(s, 0, DESTINATIONS * 2)
    n = len(sink.messages)
    _, _, taken = greeted_and_taken(s)
    waits, acks = [], []
    for i in range(100):
        begin = time.monotonic()
        acks.append(send_live())
        until("delivery", lambda: len(sink.messages) >= n + 2 + i, 60)
        waits.append(time.monotonic() - begin)
    waits.sort()
    acks.sort()
    print("%d messages to %d dead destinations due at the start: live mail takes %.0f ms to its 250, %.0f ms to its arrival (median of 100; longest %.0f, %.0f ms)" % (
        DESTINATIONS * 2, DESTINATIONS, acks[50] * 1000, waits[50] * 1000, acks[-1] * 1000, waits[-1] * 1000), flush=True)
    s.stop()


def main():
    if os.geteuid() != 0:
        raise SystemExit("make bench needs root")
    if os.environ.get("SIGNET_BENCH_INSIDE") is None:  # a network namespace of its own: nobody else's ports
        os.environ["SIGNET_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable] + sys.argv)
    work = tempfile.mkdtemp(prefix="signet-scale-", dir=os.environ.get("SIGNET_BENCH_DIR"))
    os.chmod(work, 0o755)
    env = kit.Env(os.path.join(work, "kit"))
    env.dns(["*.example. A 127.0.0.9"])
    sink = env.sink("127.0.0.1", 3026)
    s = env.signet("mta", MAIN, start=False)
    quiet_million(env, s)
    retries(env, s, sink)
    env.close()
    shutil.rmtree(work, ignore_errors=True)


main()
