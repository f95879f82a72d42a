"""Keys of session tickets are forgotten, and so is what sessions were encrypted with. The test takes a ticket, finds the key that made it in
the memory of smtpd and keeper (the name of the key stands in the ticket, its HMAC proves the find), and the root that the key came from in
keeper; when their time is over, no process has a byte of them, while the next keys work and are found the same way. Secrets of a session
(as the client's key log has them) are in smtpd while it lives, and nowhere afterwards."""
import hashlib
import hmac
import os
import re

import kit
from client_kit import OpenSSL
from memory_kit import around, holds, parts

ROLES = ("smtpd", "keeper", "smtpc", "queue", "control", "lookup", "local", "resolver", "deliver", "log")
LIFE_S = 10


def ticket(env):
    """The ticket of a new session, as it goes over the wire."""
    session = env.path("session")
    with OpenSSL(args=("-tls1_2", "-sess_out", session)) as c:
        kit.check(c.ehlo()[0] == 250, "EHLO")
    out = env.openssl("sess_id", "-in", session, "-noout", "-text")
    dump = re.search(r"TLS session ticket:\n((?:    [0-9a-f]{4} - .*\n)+)", out).group(1)
    return bytes.fromhex("".join("".join(re.findall(r"[0-9a-f]{2}", line[11:59])) for line in dump.splitlines()))


def find_key(pid, t):
    """Cipher and HMAC key that made the ticket `t`, where this process has them."""
    for block in around(pid, t[:16], 0, 64):
        if hmac.compare_digest(hmac.new(block[48:80], t[:-32], hashlib.sha256).digest(), t[-32:]):
            return {"cipher key": block[16:48], "hmac key": block[48:80]}
    return None


def expand(root, label, n):
    """HKDF-Expand (RFC 5869)."""
    out, last = b"", b""
    while len(out) < n:
        last = hmac.new(root, last + label + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += last
    return out[:n]


def find_root(pid, t):
    """The root in keeper whose child is the key of `t`: 32 bytes near the key."""
    for block in around(pid, t[:16], 400, 400):
        for at in range(0, len(block) - 32):
            if expand(block[at:at + 32], b"signet ticket key", 16) == t[:16]:
                return block[at:at + 32]
    return None


def secrets(s, t):
    """Everything secret about the ticket `t`; None when it was too late to look."""
    keeper = s.pids("keeper")[0]
    of_smtpd, of_keeper, root = ([k for k in (find_key(pid, t) for pid in s.pids("smtpd")) if k], find_key(keeper, t), find_root(keeper, t))
    if not of_smtpd or not of_keeper or not root:
        return None
    kit.check(all(k == of_keeper for k in of_smtpd), "smtpd and keeper have the same key")
    return {name: [value[:16], value[16:]] for name, value in dict(of_keeper, root=root).items()}


def everybody(s):
    return [(role, pid) for role in ROLES for pid in s.pids(role)] + [("master", s.proc.p.pid)]


def who_has(s, keys):
    return {(role, name) for role, pid in everybody(s) for name in holds(pid, keys)}


def sessions_are_forgotten(env, s):
    """What a session was encrypted with is in smtpd while it lives, and nowhere afterwards."""
    for version, labels in (("-tls1_2", ("CLIENT_RANDOM",)), ("-tls1_3", ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"))):
        log = env.path("keylog" + version)
        with OpenSSL(args=(version, "-keylogfile", log)) as c:
            kit.check(c.ehlo()[0] == 250 and c.mail("a@b.example")[0] == 250, "a session")
            with open(log) as f:
                found = {m[0]: bytes.fromhex(m[1]) for m in re.findall(r"^(\w+) [0-9a-f]+ ([0-9a-f]+)$", f.read(), re.M)}
            keys = {name: [found[name][:24], found[name][-24:]] for name in labels}
            has = who_has(s, keys)
            kit.check({name for _, name in has} == set(labels) and {role for role, _ in has} == {"smtpd"}, "%s: while it lives they are in smtpd: %s" % (version, has))
            kit.check(c.say("QUIT")[0] == 221 and c.ended(), "QUIT")
        kit.wait_until("the session's secrets to go", lambda: not who_has(s, keys))


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("reading the memory of other processes needs root")
    kit.need("openssl")
    cert, key = env.cert("mx.test")
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nsmtpd_peername_lookup = no\n"
                   "smtpd_tls_session_cache_timeout = %d\n" % (key, cert, LIFE_S))
    kit.check(sum(len(p) for p in parts(s.pids("smtpd")[0])) > 1 << 20, "the memory of smtpd can be read")
    for version in ("-tls1_2", "-tls1_3"):
        # a session that goes on, with a ticket of these keys
        with OpenSSL(args=(version,)) as idle:
            kit.check(idle.ehlo()[0] == 250, "EHLO")
            # that secrets() finds them is the proof that the search can; the epoch may end between the ticket and the look
            old = kit.wait_until("a ticket and the key that made it", lambda: secrets(s, ticket(env)))
            has = who_has(s, old)
            kit.check({role for role, _ in has} <= {"smtpd", "keeper"} and ("smtpd", "root") not in has, "they are in smtpd and keeper, the root in keeper alone: %s" % has)
            kit.wait_until("the keys to be forgotten by everybody", lambda: not who_has(s, old), LIFE_S + kit.DEADLINE)
            kit.check(idle.say("NOOP")[0] == 250, "that session is not concerned")
        # and this is no silence of the search: another key is found now
        kit.check(kit.wait_until("the next key", lambda: secrets(s, ticket(env))) != old, "another key")
    sessions_are_forgotten(env, s)
    s.stop()
