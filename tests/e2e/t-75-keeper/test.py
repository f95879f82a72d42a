"""Private keys are in keeper alone: after 10 000 handshakes of smtpd and as many of smtpc no bytes of them in smtpd, smtpc or master
(and the same search finds them in keeper, and in smtpd when keys are kept in process). keeper is undumpable, of its own uid where there is one, comes back
when it dies, and when it hangs only handshakes fail, after a second."""
import os
import pwd
import re
import signal
import smtplib
import ssl
import subprocess
import time

import kit
from memory_kit import holds

COUNT = 2000 if "asan" in kit.BUILD else 10000


def secrets(env, key):
    """The secret numbers of a private key, as they may stand in memory: big-endian, and as the library's words."""
    text = env.openssl("pkey", "-in", key, "-noout", "-text")
    found = []
    for label in ("priv", "privateExponent", "prime1", "prime2", "exponent1", "exponent2"):
        m = re.search(r"^%s:\n((?:    +[0-9a-f:]+\n)+)" % label, text, re.M)
        if m:
            number = bytes.fromhex(re.sub(r"[\s:]", "", m.group(1))).lstrip(b"\0")
            found += [number[:24], number[::-1][:24]]
    found.append("".join(open(key).read().splitlines()[2:3]).encode()[:48])     # PEM text
    kit.check(len(found) >= 3, "no secrets found in %s" % key)
    return found


def handshakes(address, count, *options):
    out = kit.sh(os.path.join(kit.BUILD, "tlsbench"), address, "25", "-n", count, "-c", "16", *options)
    kit.check(int(out.split()[2]) == count, out)


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("reading the memory of other processes needs root")
    try:
        pwd.getpwnam(kit.owner() + "-keeper")
    except KeyError:
        kit.sh("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", kit.owner() + "-keeper")
    own = pwd.getpwnam(kit.owner() + "-keeper").pw_uid
    rsa, ec, client = env.cert("rsa.test", key="rsa"), env.cert("ec.test"), env.cert("client.test")
    sni = env.cert("sni.test")
    table = env.write("sni", "sni.test %s %s\n" % (sni[1], sni[0]), 0o600)
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.9"])
    main = ("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s, %s, %s\nsmtpd_peername_lookup = no\n"
            "smtpd_client_connection_count_limit = 0\n" % (rsa[::-1] + ec[::-1]))
    # the other end of smtpc: it asks for certificates
    sink = env.signet("sink", main + "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = %s\nmydestination = example.com\nlocal_transport = discard:\n"
               "smtpd_tls_session_cache_timeout = 0\n" % env.ca(), kit.MASTER_CF.format(smtp="127.0.0.9:25"))
    s = env.signet("mx", main + "smtp_tls_security_level = encrypt\nsmtp_tls_chain_files = %s, %s\nsmtp_connection_cache_on_demand = no\n"
                   "smtp_destination_recipient_limit = 1\nsmtp_destination_concurrency_limit = 50\n"
                   "tls_server_sni_maps = texthash:%s\n" % (client[1], client[0], table))
    keys = {n: secrets(env, pair[1]) for n, pair in (("rsa", rsa), ("ec", ec), ("client", client), ("sni", sni))}
    keeper = s.pids("keeper")[0]
    with open("/proc/%d/status" % keeper) as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    kit.check(set(status["Uid"].split()) == {str(own)}, "keeper's own uid: %s" % status["Uid"])
    kit.check(os.stat("/proc/%d/mem" % keeper).st_uid == 0, "undumpable: its /proc files are root's")
    with open("/proc/%d/limits" % keeper) as f:
        kit.check(re.search(r"Max core file size +0 ", f.read()), "no core")
    kit.check("asan" in kit.BUILD or int(status["VmLck"].split()[0]) > 1000, "memory locked: %s" % status["VmLck"])
    kit.check(not [f for f in os.listdir("/proc/%d/fd" % keeper) if "/etc/" in os.readlink("/proc/%d/fd/%s" % (keeper, f))], "no files of /etc")

    # handshakes of all kinds
    handshakes("127.0.0.1", 200)
    handshakes("127.0.0.1", 100, "-2")
    handshakes("127.0.0.1", 100, "-r")
    kit.sh("openssl", "s_client", "-connect", "127.0.0.1:25", "-starttls", "smtp", "-servername", "sni.test", input="QUIT\r\n", timeout=20)
    # a connection for each recipient: COUNT handshakes of our smtpc and of the sink's smtpd
    for i in range(0, COUNT, 1000):
        kit.check(kit.send(rcpts=["user%d@example.com" % n for n in range(i, i + 1000)]).startswith("250 "), "mail for smtpc")
    kit.wait_until("an empty queue", lambda: not s.queue_list(), 180)
    out = sum(r["tls"]["handshakes"] - r["tls"]["resumed"] for r in s.status()["roles"] if r["role"] == "smtpc")
    kit.check(out >= COUNT, "full handshakes of smtpc: %d" % out)
    kit.check(holds(s.pids("keeper")[0], keys) == set(keys), "the search finds every key in keeper")
    for t in (s, sink):
        role = [r for r in t.status()["roles"] if r["role"] == "keeper"][0]
        kit.check(role["signatures"] >= COUNT, role)
        for r in ("smtpd", "smtpc", "queue", "control", "lookup", "local", "resolver", "deliver", "log"):
            for pid in t.pids(r):
                kit.check(not holds(pid, keys), "%s: %s" % (r, holds(pid, keys)))
        kit.check(not holds(t.proc.p.pid, keys), "master: %s" % holds(t.proc.p.pid, keys))

    # keeper dies: the workers get the next one
    workers = s.pids("smtpd")
    os.kill(keeper, signal.SIGKILL)
    kit.wait_until("another keeper", lambda: s.pids("keeper") and s.pids("keeper") != [keeper])

    def tls_works():
        try:
            with smtplib.SMTP("127.0.0.1", 25, timeout=20) as c:
                c.starttls(context=ssl._create_unverified_context())
                c.ehlo()
                return c.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    kit.wait_until("handshakes with the new keeper", tls_works)
    for _ in range(8):
        kit.check(tls_works(), "at every smtpd")
    kit.check(s.pids("smtpd") == workers, "no smtpd was restarted")
    # keeper hangs: a handshake fails after a second, sessions go on, and afterwards all is well
    keeper = s.pids("keeper")[0]
    os.kill(keeper, signal.SIGSTOP)
    with smtplib.SMTP("127.0.0.1", 25, timeout=20) as plain:
        plain.ehlo()
        began = time.monotonic()
        for _ in range(6):
            kit.check(not tls_works(), "a handshake without keeper")
        kit.check(time.monotonic() - began < 6, "they fail soon: %.1f s for six" % (time.monotonic() - began))
        kit.check(plain.noop()[0] == 250, "who talks in clear is not concerned")

        def told():
            """A process that knows says no, instead of a handshake that must fail; and the session goes on."""
            with smtplib.SMTP("127.0.0.1", 25, timeout=20) as c:
                c.ehlo()
                return c.docmd("STARTTLS") == (454, b"4.7.0 TLS not available due to local problem") and c.noop()[0] == 250
        kit.wait_until("454 to STARTTLS", told)
    s.wait_log(r"smtpd\[\d+\]: warning: keeper: no answer within a second")
    os.kill(keeper, signal.SIGCONT)
    kit.wait_until("handshakes again", tls_works)
    kit.check(all(tls_works() for _ in range(8)), "at every smtpd again")

    # the search can fail: keys in process (for benchmarks) are found in smtpd
    for pem in (rsa[1], ec[1]):
        os.chmod(pem, 0o644)
    os.environ["SIGNET_KEYS"] = "in-process"
    t = env.signet("inside", main, kit.MASTER_CF.format(smtp="127.0.0.3:25"))
    del os.environ["SIGNET_KEYS"]
    handshakes("127.0.0.3", 50)
    t.wait_log(r"SIGNET_KEYS=in-process: private keys live in this process")
    kit.check(set.union(*(holds(pid, keys) for pid in t.pids("smtpd"))) == {"rsa", "ec"}, "keys in process are found")
