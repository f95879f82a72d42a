"""What the forward secrecy guide says of keys that are disclosed later, carried out: with the server's private key a recorded session
without forward secrecy is computed again to its master secret, one with it is not; key agreement inputs are new in each session and at
each process; and all cipher suites of the guide's own command, with the names that it says they have, from RSA, ECDSA and DSA keys."""
import hashlib
import hmac
import re

import kit
from client_kit import hello

GUIDE = "aNULL:-aNULL:kEECDH:kEDH:+RC4:!eNULL:!EXPORT:!LOW:@STRENGTH"
PREFIXES = ("AECDH-", "ECDHE-", "ADH-", "EDH-", "DHE-")


def recorded(env, *args):
    """One TLS 1.2 session as somebody on the wire has it, handshake messages by name, and what s_client says the master secret was."""
    log = env.path("secrets")
    out = hello(25, "-tls1_2", "-msg", "-keylogfile", log, *args)
    messages, hexes = [], None
    for line in out.splitlines():
        m = re.match(r"(?:>>>|<<<) .*Handshake \[length [0-9a-f]+\], (\w+)", line)
        if m:
            hexes = []
            messages.append((m.group(1), hexes))
        elif hexes is not None and re.match(r"    [0-9a-f]{2}( [0-9a-f]{2})*$", line):
            hexes.append(bytes.fromhex(line.replace(" ", "")))
        else:
            hexes = None
    with open(log) as f:
        master = bytes.fromhex(re.findall(r"^CLIENT_RANDOM [0-9a-f]+ ([0-9a-f]+)$", f.read(), re.M)[-1])
    return [(name, b"".join(parts)) for name, parts in messages], master, out


def prf(digest, secret, label, seed, n):
    """RFC 5246 section 5."""
    a, out = label + seed, b""
    while len(out) < n:
        a = hmac.new(secret, a, digest).digest()
        out += hmac.new(secret, a + label + seed, digest).digest()
    return out[:n]


def computed_later(env, key, messages):
    """The master secret from what was on the wire and the private key alone (RFC 5246 section 7.4.7.1, RFC 7627 section 4); None: there
    is nothing in it that the key opens."""
    names = [name for name, _ in messages]
    upto = names.index("ClientKeyExchange") + 1
    exchange = dict(messages)["ClientKeyExchange"]
    sealed = env.path("sealed")
    with open(sealed, "wb") as f:
        f.write(exchange[6:])           # header of the message, length of the vector
    r = kit.subprocess.run(["openssl", "pkeyutl", "-decrypt", "-inkey", key, "-in", sealed], stdout=kit.subprocess.PIPE, stderr=kit.subprocess.DEVNULL)
    if r.returncode != 0 or len(r.stdout) != 48 or r.stdout[:2] != b"\3\3":
        return None
    digest = hashlib.sha256
    return prf(digest, r.stdout, b"extended master secret", digest(b"".join(body for _, body in messages[:upto])).digest(), 48)


def disclosed(env, key):
    """ "An attacker with access to the server's private key can perform the same computation at any later time." """
    messages, master, out = recorded(env, "-cipher", "AES128-GCM-SHA256")
    kit.check("Cipher is AES128-GCM-SHA256" in out and "Extended master secret: yes" in out, out[-1500:])
    kit.check(computed_later(env, key, messages) == master, "without forward secrecy the private key gives the session away")
    # "Sessions encrypted with one of these newer cipher suites are not compromised by future disclosure of long-term authentication keys."
    for suite in ("ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        messages, master, out = recorded(env, "-cipher", suite)
        kit.check("Cipher is " + suite in out and len(master) == 48, out[-1500:])
        kit.check(computed_later(env, key, messages) is None, "with %s it does not" % suite)


def fresh(env):
    """ "negotiating session keys using per-session cryptographically-strong random numbers that are not saved" """
    seen = {}
    for suite, count in (("ECDHE-RSA-AES128-GCM-SHA256", 12), ("DHE-RSA-AES128-GCM-SHA256", 12)):
        shares = []
        for _ in range(count):          # the kernel spreads them over the processes
            body = dict(recorded(env, "-cipher", suite)[0])["ServerKeyExchange"]
            shares.append(body[4:4 + 69] if suite.startswith("ECDHE") else dh_public(body[4:]))
        kit.check(len(set(shares)) == count, "%s: the server's half is new in each session" % suite)
        seen[suite] = shares
    hellos = []
    for _ in range(12):
        out = hello(25, "-tls1_3", "-msg", "-groups", "X25519")
        m = re.search(r"<<< .*ServerHello\n((?:    [0-9a-f ]+\n)+)", out)
        hellos.append(bytes.fromhex(re.sub(r"\s", "", m.group(1))))
    at = [h.index(b"\x00\x33\x00\x24\x00\x1d\x00\x20") + 8 for h in hellos]
    kit.check(len({h[i:i + 32] for h, i in zip(hellos, at)}) == len(hellos), "TLS 1.3: the server's key share is new in each session")


def dh_public(body):
    """p, g, Ys: the last of the three."""
    for _ in range(2):
        body = body[2 + int.from_bytes(body[:2], "big"):]
    return body[2:2 + int.from_bytes(body[:2], "big")]


def suites(env, s):
    """ "To date, all ciphers that support forward secrecy have one of five values for the first component of their OpenSSL name" """
    out = kit.sh("openssl", "ciphers", "-v", "-s", "-tls1_2", GUIDE + ":@SECLEVEL=0")
    table = [line.split() for line in out.splitlines()]
    kit.check(len(table) > 30, "the guide's command: %s" % out)
    used = set()
    for name, _, kx, au, enc in (line[:5] for line in table):
        if "AESGCM" not in enc and "CHACHA20" not in enc and not name.endswith(("AES256-SHA", "AES128-SHA")):
            continue                    # the others differ in what encrypts, not in how keys are agreed upon
        kit.check(kx in ("Kx=ECDH", "Kx=DH") and name.startswith(PREFIXES), "%s %s" % (name, kx))
        port = {"Au=None": 26, "Au=DSS": 27}.get(au, 25)
        since = s.mark()
        got = re.search(r"Cipher is (\S+)", hello(port, "-tls1_2", "-cipher", name + ":@SECLEVEL=0"))
        kit.check(got and got.group(1) == name, "%s: the server agreed on %s" % (name, got and got.group(1)))
        s.wait_log(r"Anonymous TLS connection established from \S+: TLSv1\.2 with cipher %s \((256/256|128/128) bits\)$" % name, since)
        used.add((name.split("-")[0], au))
    kit.check(used == {("AECDH", "Au=None"), ("ADH", "Au=None"), ("ECDHE", "Au=RSA"), ("ECDHE", "Au=ECDSA"), ("DHE", "Au=RSA"), ("DHE", "Au=DSS")}, used)
    # "Ciphers that don't implement forward secrecy have names that don't start with one of these prefixes."
    for name in kit.sh("openssl", "ciphers", "-s", "-tls1_2", "kRSA:@SECLEVEL=0").strip().split(":"):
        kit.check(not name.startswith(PREFIXES), name)


def run(env):
    kit.need("openssl")
    rsa, ec = env.cert("mx.test", key="rsa"), env.cert("mx.test")
    env.openssl("dsaparam", "-out", "dsa.param", "2048")
    env.openssl("req", "-x509", "-newkey", "dsa:dsa.param", "-nodes", "-keyout", "dsa.key", "-out", "dsa.pem", "-days", "20", "-subj", "/CN=mx.test")
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_eccert_file = %s\nsmtpd_tls_eckey_file = %s\n"
                   "smtpd_tls_dcert_file = %s\nsmtpd_tls_dkey_file = %s\nsmtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\n" % (
                       *rsa, *ec, env.path("dsa.pem"), env.path("dsa.key")),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:26 inet n - n - - smtpd\n -o smtpd_tls_cert_file=none -o smtpd_tls_key_file=\n"
                   " -o smtpd_tls_eccert_file= -o smtpd_tls_eckey_file= -o smtpd_tls_dcert_file= -o smtpd_tls_dkey_file=\n"
                   "127.0.0.1:27 inet n - n - - smtpd -o tls_medium_cipherlist=aNULL:-aNULL:HIGH:@STRENGTH\n")
    disclosed(env, rsa[1])
    fresh(env)
    suites(env, s)
    s.stop()
