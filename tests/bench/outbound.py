#!/usr/bin/env python3
"""Part of make bench: what outbound TLS policy costs.

The processor time of one decision with a table of 100 000 rows (cdb) and every DNS answer known, goal below 50 us. Then a message
to each of SIGNET_BENCH_DESTINATIONS (2000) domains, each with an MX host, an address and a TLSA record of its own in a signed zone,
at level dane: every delivery is validated, shakes hands and is verified; then the same again, when the sessions are known.
A stall is a second without a delivery. Exit status 1 when a goal is missed. Needs root (port 25 in a network namespace).
"""
import json
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import kit  # noqa: E402
import zones  # noqa: E402

BENCH = os.path.join(kit.BUILD, "smtpbench")
COUNT = int(os.environ.get("SIGNET_BENCH_DESTINATIONS", "2000"))
MAIN = """\
mydestination =
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
"""


def decision():
    out = subprocess.run([os.path.join(kit.BUILD, "src", "test_hop_hop_test")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    cost = float(re.search(r"facts and decision, .*: ([0-9.]+) us", out).group(1))
    print("\nOutbound policy: facts and decision, table of 100000 rows (cdb), DNS answers known: %.1f us (goal 50)%s" % (
        cost, "" if cost < 50 else "   MISSED"), flush=True)
    return cost >= 50


def zone(env, cert):
    lines = []
    for i in range(COUNT):
        lines += ["d%d 600 IN MX 10 mx%d" % (i, i), "mx%d 600 IN A 127.10.%d.%d" % (i, i // 250, 1 + i % 250),
                  "_25._tcp.mx%d 600 IN TLSA %s" % (i, zones.tlsa(env, cert) if i == 0 else "@")]
    record = lines[2].split("TLSA ")[1]
    return [line.replace("@", record) for line in lines]


def one_run(s, sink, what):
    before, since = tls_counts(s), s.mark()
    subprocess.run([BENCH, "source", "3025", "-n", str(COUNT), "-s", "50", "-l", "2000", "-r", "user@d%.many.test"], stdout=subprocess.DEVNULL, timeout=300)
    got = json.loads(sink.stdout.readline())
    kit.wait_until("an empty queue", lambda: s.queue_list() == [])
    after = tls_counts(s)
    verified = s.log()[since:].count("Verified TLS connection established to mx")
    stalled = got["longest_gap_ms"] >= 1000
    print("  %-24s %5.0f msg/s, longest time between two deliveries %4.0f ms (goal 1000); %d handshakes, %d resumed, %d verified%s" % (
        what, got["rate"], got["longest_gap_ms"], after[0] - before[0], after[1] - before[1], verified, "   MISSED" if stalled else ""), flush=True)
    return stalled


def tls_counts(s):
    roles = [r["tls"] for r in json.loads(s.cli("status", "--json"))["roles"] if r["role"] == "smtpc"]
    return sum(t["handshakes"] for t in roles), sum(t["resumed"] for t in roles)


def main():
    if os.geteuid() != 0:
        raise SystemExit("make bench needs root")
    if os.environ.get("SIGNET_BENCH_INSIDE") is None:
        os.environ["SIGNET_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable] + sys.argv)
    missed = decision()
    env = kit.Env(tempfile.mkdtemp(prefix="signet-bench-out-", dir=os.environ.get("SIGNET_BENCH_DIR")))
    try:
        certs = env.cert("mx.many.test")
        zones.Tree(env).zone("test.", []).zone("many.test.", zone(env, certs[0])).start()
        s = env.signet("mta", MAIN + env.dns_params, kit.MASTER_CF.format(smtp="127.0.0.1:3025"))
        sink = subprocess.Popen([BENCH, "sink", "25", "-a", "-e", "-n", str(COUNT), "-C", certs[0], "-K", certs[1]], stdout=subprocess.PIPE, text=True)
        env.at_end(sink.kill)
        print("A message to each of %d destinations with records of their own, level dane:" % COUNT)
        missed |= one_run(s, sink, "all of it for the first time")
        missed |= one_run(s, sink, "again, sessions kept")
        s.stop()
    finally:
        env.close()
    return missed


if __name__ == "__main__":
    sys.exit(main())
