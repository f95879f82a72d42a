#!/usr/bin/env python3
"""Play the simulator's scripts: run.py [NAME...], with --seeds N each with the seeds 1 to N; with --torture [EVERY] the stories of tests/sim/torture, each again and
again with one failure more (every EVERY-th only). SIGNET_BUILD says which build (default build). Scripts are in tests/sim/*.sim."""
import concurrent.futures
import glob
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SIM = os.path.join(os.environ.get("SIGNET_BUILD", os.path.join(ROOT, "build")), "tests", "sim", "sim")
LIMIT_S = 3600


def scripts(folder, names):
    found = sorted(glob.glob(os.path.join(folder, "*.sim")))
    if not names:
        return found
    wanted = [p for p in found if os.path.basename(p)[:-4] in names]
    if len(wanted) != len(set(names)):
        sys.exit("no such script: %s" % " ".join(sorted(set(names) - {os.path.basename(p)[:-4] for p in wanted})))
    return wanted


def play_seeds(path, options, seeds):
    for seed in range(1, seeds + 1):
        result = play(path, [*options, "--seed", str(seed)])
        if not result[0]:
            break
    return result


def play(path, options):
    begun = time.monotonic()
    try:
        done = subprocess.run([SIM, *options, os.path.relpath(path, ROOT)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, timeout=LIMIT_S)
        return done.returncode == 0, done.stdout.decode(errors="replace"), time.monotonic() - begun
    except subprocess.TimeoutExpired as e:
        return False, (e.output or b"").decode(errors="replace") + "\nno end after %d s\n" % LIMIT_S, time.monotonic() - begun


def main(args):
    options, what = [], "sim"
    if args[:1] == ["--torture"]:
        args, options, what = args[1:], ["--torture"], "torture"
        if args and args[0].isdigit():
            options += ["--every", args.pop(0)]
    seeds = 1
    if args[:1] == ["--seeds"] and len(args) > 1 and args[1].isdigit() and int(args[1]) > 0:
        seeds, args = int(args[1]), args[2:]
    paths = scripts(os.path.join(HERE, "torture") if what == "torture" else HERE, args)
    # the stories of torture are scripts like the others, too
    if what == "sim" and not args:
        paths += scripts(os.path.join(HERE, "torture"), [])
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, (ok, text, took) in zip(paths, pool.map(lambda p: play_seeds(p, options, seeds), paths)):
            name = "%s/%s" % (what, os.path.relpath(path, HERE)[:-4].replace("torture/", "" if what == "torture" else "torture-"))
            if ok and what == "torture":
                text = text.splitlines()[0].strip().rsplit("  ", 1)[0]
                print("PASS  %s (%.1f s: %s)" % (name, took, text))
            elif ok:
                print("PASS  %s (%.1f s)" % (name, took))
            else:
                print("FAIL  %s\n%s" % (name, "".join("    %s\n" % line for line in text.splitlines()[-60:])), end="")
            sys.stdout.flush()
            passed += ok
            failed += not ok
    print("%s: %d passed, %d failed" % (what, passed, failed))
    return failed > 0 or passed == 0


sys.exit(main(sys.argv[1:]))
