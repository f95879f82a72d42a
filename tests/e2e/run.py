#!/usr/bin/env python3
"""Run the end-to-end tests: run.py [-j N] [NAME...]. Each runs in its own network namespace with a deadline.
Prints one line a test, the whole story of a failure, and at the end "N passed, N failed, N skipped"."""
import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = int(os.environ.get("SIGNET_E2E_LIMIT", "180"))

INSIDE = r"""
import importlib.util, os, sys, traceback
sys.path.insert(0, %(here)r)
import kit
spec = importlib.util.spec_from_file_location("t", %(test)r)
t = importlib.util.module_from_spec(spec)
env = kit.Env(%(dir)r)
status = 0
try:
    spec.loader.exec_module(t)
    t.run(env)
except kit.Skipped as e:
    print("SKIPPED: %%s" %% e)
    status = 77
except Exception:
    traceback.print_exc()
    status = 1
finally:
    env.close()
    sys.stdout.flush()
    os._exit(status)
"""


def one(name):
    work = tempfile.mkdtemp(prefix="signet-e2e-")
    os.chmod(work, 0o755)
    code = INSIDE % {"here": HERE, "test": os.path.join(HERE, name, "test.py"), "dir": os.path.join(work, "t")}
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    argv = unshare + ["sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, "-c", code]
    start = time.monotonic()
    try:
        r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, start_new_session=True)
        status, out = r.returncode, r.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        status, out = 124, (e.stdout or b"").decode("utf-8", "replace") + "\nover the limit of %d s" % LIMIT
    took = time.monotonic() - start
    if status in (0, 77):
        shutil.rmtree(work, ignore_errors=True)
    else:
        out += "\nfiles are left in %s" % work
    return name, status, out, took


def namespaces_work():
    argv = ["unshare", "-n", "ip", "link", "set", "lo", "up"] if os.geteuid() == 0 else ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-j", type=int, default=2)
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    names = sorted(n for n in os.listdir(HERE) if n.startswith("t-") and os.path.exists(os.path.join(HERE, n, "test.py")))
    if a.names:
        names = [n for n in names if any(w in n for w in a.names)]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if not namespaces_work():
        for n in names:
            print("SKIP  e2e/%s (no network namespaces here)" % n)
        counts["skipped"] = len(names)
    else:
        with concurrent.futures.ThreadPoolExecutor(a.j) as pool:
            for name, status, out, took in pool.map(one, names):
                word = "PASS" if status == 0 else "SKIP" if status == 77 else "FAIL"
                counts[{"PASS": "passed", "SKIP": "skipped", "FAIL": "failed"}[word]] += 1
                print("%s  e2e/%s (%.1f s)" % (word, name, took), flush=True)
                if status != 0:
                    print("    " + out.rstrip().replace("\n", "\n    "), flush=True)
    print("e2e: %(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    sys.exit(1 if counts["failed"] or (counts["skipped"] and os.environ.get("CI")) else 0)


main()
