#!/usr/bin/env python3
"""Part of make bench: TLS handshakes per second over STARTTLS, full and resumed, RSA-2048 and P-256.

Signet as it runs (private keys in keeper) beside the same server with keys in its own processes (SIGNET_KEYS=in-process, which
exists for this comparison only), beside Postfix (tuned, which is what counts, and stock) and beside a bare server that does nothing
but shake hands (tests/bench/tlsbare.c: what the TLS library and the kernel leave to be won), in turns in one run. The clients
(tests/bench/tlsbench.c) run on the same machine; where it has several cores, servers and clients have halves of their own, so that
what is measured is the server. They use BoringSSL (Debian's android-libboringssl), which takes half of OpenSSL's time: with an
OpenSSL client (SIGNET_BENCH_CLIENT=openssl) the clients' cores are the limit of P-256. It offers TLS_AES_128_GCM_SHA256 first, so that is
what all servers use, and not OpenSSL's TLS_AES_256_GCM_SHA384. As many connections at once as let Postfix use its cores up: with 16 and
32 it waited (for delayed acknowledgements; RSA-2048 full: 286 a second with 32, 364 with 64), which would flatter us. SIGNET_BENCH_ROUNDS (5) and SIGNET_BENCH_HANDSHAKES (1500) change the
defaults. Needs root, for Postfix. Exit status 1 when a goal is missed: full handshakes with keeper within 10 % (RSA-2048) and 20 % (P-256) of keys
in process, and twice Postfix's rate, full and resumed, or nine tenths of the bare server's where that does not reach twice either.
"""
import glob
import os
import socket
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import kit  # noqa: E402

BENCH = os.path.join(kit.BUILD, "tlsbench")
BARE = os.path.join(kit.BUILD, "tlsbare")
ROUNDS = int(os.environ.get("SIGNET_BENCH_ROUNDS", "5"))
COUNT = int(os.environ.get("SIGNET_BENCH_HANDSHAKES", "1500"))
CONNECTIONS = 64
CORES = sorted(os.sched_getaffinity(0))
SERVERS, CLIENTS = CORES[:(len(CORES) + 1) // 2], CORES[(len(CORES) + 1) // 2:] or CORES
MAIN = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = %s, %s
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
"""


def tree_cpu(root):
    """User and system seconds of a process and its descendants, those that ended included."""
    tick, parents, times = os.sysconf("SC_CLK_TCK"), {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(pid)], times[int(pid)] = int(fields[1]), sum(int(x) for x in fields[11:15]) / tick
    total = 0
    for pid in times:
        at = pid
        while at in parents and at not in (root, 0, 1):
            at = parents[at]
        total += times[pid] if at == root else 0
    return total


def answers(address):
    try:
        with socket.create_connection((address, 25), 1):
            return True
    except OSError:
        return False


def build_client(env):
    """The client of the measurement, with BoringSSL where Debian's package puts it."""
    if os.environ.get("SIGNET_BENCH_CLIENT") == "openssl":
        return BENCH
    lib = next(iter(glob.glob("/usr/lib/*/android/libssl.so")), None)
    if lib is None:
        raise SystemExit("android-libboringssl-dev is not installed: tests/kit/deps.sh bench")
    client, where = os.path.join(env.dir, "tlsbench-boringssl"), os.path.dirname(lib)
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-I/usr/include/android", os.path.join(TOP, "tests", "bench", "tlsbench.c"), "-o", client,
                    "-L" + where, "-Wl,-rpath," + where, "-lssl", "-lcrypto", "-lpthread"], check=True)
    return client


def rate(client, address, resumed):
    argv = [client, address, "25", "-n", str(COUNT), "-c", str(CONNECTIONS)] + (["-r"] if resumed else [])
    os.sched_setaffinity(0, CLIENTS)
    out = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=300)
    os.sched_setaffinity(0, SERVERS)
    per_second, again, done = out.stdout.split()
    if out.returncode != 0 or int(done) != COUNT:
        raise SystemExit("%s: handshakes failed" % address)
    if resumed and int(again) < COUNT - 2 * CONNECTIONS:
        raise SystemExit("%s: only %s of %d sessions were resumed" % (address, again, COUNT))
    return float(per_second)


def main():
    if os.geteuid() != 0:
        raise SystemExit("make bench needs root (Postfix is measured beside Signet)")
    if os.environ.get("SIGNET_BENCH_INSIDE") is None:
        os.environ["SIGNET_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable] + sys.argv)
    env = kit.Env(tempfile.mkdtemp(prefix="signet-bench-tls-", dir=os.environ.get("SIGNET_BENCH_DIR")))
    missed, client = False, build_client(env)
    os.sched_setaffinity(0, SERVERS)
    print("\nTLS handshakes per second (STARTTLS, TLS 1.3, clients with %s, %d at a time, %d a round, median of %d rounds [lowest .. highest]), "
          "servers on %d of %d cores:" % ("OpenSSL" if client == BENCH else "BoringSSL", CONNECTIONS, COUNT, ROUNDS, len(SERVERS), len(CORES)))
    try:
        for key, label, share in (("rsa", "RSA-2048", 0.90), ("ec", "P-256", 0.80)):
            missed |= one_key(env, client, key, label, share)
    finally:
        env.close()
        os.sched_setaffinity(0, CORES)
    return missed


def master_of(postfix):
    with open(os.path.join(postfix.queue, "pid", "master.pid")) as f:
        return int(f.read())


def one_key(env, client, key, label, share):
    cert, private = env.cert("localhost", key=key)
    text = MAIN % (private, cert)
    keeper = env.signet(key + "-keeper", text, kit.MASTER_CF.format(smtp="127.0.0.1:25"))
    os.environ["SIGNET_KEYS"] = "in-process"
    os.chmod(private, 0o644)
    inside = env.signet(key + "-inside", text, kit.MASTER_CF.format(smtp="127.0.0.2:25"))
    del os.environ["SIGNET_KEYS"]
    postfix = env.postfix(key + "-postfix", text + "default_process_limit = 100\nmax_use = 1000\n", smtp="127.0.0.3:25")
    stock = env.postfix(key + "-stock", text, smtp="127.0.0.5:25")
    bare = subprocess.Popen([BARE, "127.0.0.4", "25", cert, private, str(len(SERVERS))])
    kit.wait_until("the bare server", lambda: answers("127.0.0.4"))
    peers = (("keeper", "127.0.0.1", keeper.proc.p.pid), ("keys in process", "127.0.0.2", inside.proc.p.pid),
             ("Postfix", "127.0.0.3", master_of(postfix)), ("Postfix stock", "127.0.0.5", master_of(stock)), ("bare server", "127.0.0.4", bare.pid))
    missed = False
    for resumed in (False, True):
        rates, cpus = {p[0]: [] for p in peers}, {p[0]: [] for p in peers}
        for n in range(ROUNDS + 1):
            for name, address, root in peers:
                cpu = tree_cpu(root)
                r = rate(client, address, resumed)
                if n > 0:               # the first round warms up
                    rates[name].append(r)
                    cpus[name].append((tree_cpu(root) - cpu) * 1000 / COUNT)
        median = {name: statistics.median(rates[name]) for name in rates}
        for name, _, _ in peers:
            print("  %-8s %-7s  %-16s %7.0f  [%.0f .. %.0f]   server's CPU %.2f s/1000" % (
                label, "resumed" if resumed else "full", name, median[name], min(rates[name]), max(rates[name]),
                statistics.median(cpus[name])), flush=True)
        of_own, of_postfix = median["keeper"] / median["keys in process"], median["keeper"] / median["Postfix"]
        possible = median["bare server"] / median["Postfix"]
        cost = {name: statistics.median(cpus[name]) for name in cpus}
        goal = (resumed or of_own >= share) and (of_postfix >= 2 or (possible < 2 and of_postfix >= 0.9 * possible))
        print("  %-8s %-7s  keeper is %.0f %% of keys in process%s, %.2f times Postfix (goal 2, the bare server %.2f)%s\n"
              "                    by the server's CPU, where the clients may be what limits the rate: %.2f times (the bare server %.2f)" % (
                  label, "resumed" if resumed else "full", 100 * of_own, "" if resumed else " (goal %.0f)" % (100 * share), of_postfix,
                  possible, "" if goal else "   MISSED", cost["Postfix"] / cost["keeper"], cost["Postfix"] / cost["bare server"]), flush=True)
        missed |= not goal
    bare.terminate()
    bare.wait()
    keeper.stop()
    inside.stop()
    postfix.stop()
    stock.stop()
    return missed


if __name__ == "__main__":
    sys.exit(main())
