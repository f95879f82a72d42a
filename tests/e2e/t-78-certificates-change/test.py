"""Certificates are read again when their files change, without a reload and without touching sessions: RSA, ECDSA and Ed25519 side
by side in legacy pairs and chain files, what does not fit stays out and the log says why, for smtpd, smtpc and SNI tables."""
import os
import re
import ssl
import time

import kit
from client_kit import GnuTLS, Gone, OpenSSL, Swaks


def subject(port, *argv):
    out = kit.sh("openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-starttls", "smtp", "-noservername", *argv, check_status=False,
                 input="QUIT\r\n", timeout=20)
    m = re.search(r"^subject=(.*)$", out, re.M)
    return m.group(1).replace(" ", "") if m else out


def install(path, text):
    """As certificate programs do: a new file under the old name."""
    with open(path + ".new", "w") as f:
        f.write(text)
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)


def read(*paths):
    return "".join(open(p).read() for p in paths)


# what a client takes: its words to openssl and to gnutls-cli, the certificate, what the log says of the signature
KINDS = (("rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256", "rsa.test", r"RSA-PSS \(2048 bits\)"),
         ("ecdsa_secp256r1_sha256", "ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SHA256", "ec.test", r"ECDSA \(prime256v1\)"), ("ed25519", "EDDSA-ED25519", "ed.test", "ED25519"))
SUITES = (("ECDHE-RSA-AES128-GCM-SHA256", "rsa.test"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ec.test"))


def side_by_side(s):
    """RSA, ECDSA and Ed25519 of one listener: the client gets the one that it can check, by signature algorithms or by cipher suite."""
    for sigalgs, signs, name, said in KINDS:
        for version, gnutls in (("-tls1_2", "1.2"), ("-tls1_3", "1.3")):
            mark = s.mark()
            kit.check(subject(29, "-sigalgs", sigalgs, version) == "CN=" + name, "openssl, %s, %s" % (sigalgs, version))
            with GnuTLS(29, priority="NORMAL:-VERS-ALL:+VERS-TLS%s:-SIGN-ALL:+SIGN-%s" % (gnutls, signs)) as c:
                kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls()[0] == 220 and c.ehlo()[0] == 250, "gnutls-cli, %s, %s" % (signs, gnutls))
                kit.check("subject `CN=%s'" % name in c.facts(), "gnutls-cli, %s, %s: %s" % (signs, gnutls, c.facts()))
            if version == "-tls1_3":
                s.wait_log(r"TLS connection established from .*: TLSv1\.3 .* server-signature %s" % said, mark)
    for suite, name in SUITES:
        kit.check(subject(29, "-tls1_2", "-cipher", suite) == "CN=" + name, suite)
    # who can check none of them gets none
    try:
        OpenSSL(29, args=("-sigalgs", "ed448"))
        raise AssertionError("a signature that there is no key for")
    except Gone:
        pass


def run(env):
    kit.need("openssl", "gnutls-cli", "swaks")
    rsa, ec = env.cert("rsa.test", key="rsa"), env.cert("ec.test")
    env.openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "ed.key", "-out", "ed.pem", "-days", "20", "-subj", "/CN=ed.test")
    ed = env.path("ed.pem"), env.path("ed.key")
    d = env.path("live")
    os.makedirs(d)
    files = {n: os.path.join(d, n) for n in ("rsa.pem", "rsa.key", "ec.pem", "ec.key", "ed.chain", "client.chain", "sni.chain")}
    for name, source in (("rsa.pem", rsa[:1]), ("rsa.key", rsa[1:]), ("ec.pem", ec[:1]), ("ec.key", ec[1:]), ("ed.chain", ed[::-1]),
                         ("client.chain", ec[::-1]), ("sni.chain", rsa[::-1])):
        install(files[name], read(*source))
    table = env.write("sni", "sni.test %s\n" % files["sni.chain"], 0o600)
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    server_cert = env.cert("mx.example.com")
    asks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asks.load_cert_chain(*server_cert)
    asks.load_verify_locations(env.ca())
    asks.verify_mode = ssl.CERT_REQUIRED
    shown = []

    def on_mail(conn, line):
        shown.append(dict(x[0] for x in conn.getpeercert()["subject"])["commonName"])

    sink = env.sink("127.0.0.2", keywords=("STARTTLS",), tls=asks, script={"MAIL": on_mail})
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_peername_lookup = no\nsmtp_tls_security_level = may\nsmtp_tls_loglevel = 1\n"
                   "smtpd_tls_cert_file = %(rsa.pem)s\nsmtpd_tls_key_file = %(rsa.key)s\nsmtpd_tls_eccert_file = %(ec.pem)s\n"
                   "smtpd_tls_eckey_file = %(ec.key)s\nsmtp_tls_chain_files = %(client.chain)s\nsmtp_connection_cache_on_demand = no\n" % files +
                   "smtpd_relay_restrictions = permit_mynetworks, reject\n",
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:26 inet n - n - - smtpd\n -o smtpd_tls_chain_files=%(rsa.key)s,%(rsa.pem)s,%(ed.chain)s\n"
                   "127.0.0.1:27 inet n - n - - smtpd\n -o { smtpd_tls_chain_files = %(ed.chain)s /nonexistent/more.pem }\n"
                   "127.0.0.1:28 inet n - n - - smtpd\n -o smtpd_tls_chain_files=%(ec.pem)s\n"
                   "127.0.0.1:29 inet n - n - - smtpd\n -o smtpd_tls_loglevel=1 -o { smtpd_tls_chain_files = %(rsa.key)s %(rsa.pem)s %(ec.key)s %(ec.pem)s %(ed.chain)s }\n" % files)
    # side by side: the client's algorithms choose
    for port, sigalg, cn in ((25, "rsa_pss_rsae_sha256", "rsa.test"), (25, "ecdsa_secp256r1_sha256", "ec.test"),
                             (26, "ed25519", "ed.test"), (26, "rsa_pss_rsae_sha256", "rsa.test"), (27, "ed25519", "ed.test")):
        for version in ("-tls1_2", "-tls1_3"):
            kit.check(subject(port, "-sigalgs", sigalg, version) == "CN=" + cn, "%d %s %s: %s" % (port, sigalg, version, subject(port, "-sigalgs", sigalg, version)))
    kit.check(s.has_log(r"smtpd_tls_chain_files: /nonexistent/more\.pem: No such file or directory: this file is left out"), "the rest is used")
    kit.check(s.has_log(r"smtpd_tls_chain_files: .*ec\.pem: a certificate before any private key"), "one clear line")
    kit.check("STARTTLS" not in Swaks(port=28).out, "unusable: not announced")
    side_by_side(s)
    # RSA key exchange: keeper decrypts at level may
    out = kit.sh("openssl", "s_client", "-connect", "127.0.0.1:25", "-starttls", "smtp", "-tls1_2", "-cipher", "AES256-GCM-SHA384:@SECLEVEL=0",
                 check_status=False, input="QUIT\r\n", timeout=20)
    kit.check("Cipher is AES256-GCM-SHA384" in out, "RSA key exchange at level may:\n%s" % out[-1500:])
    # a new pair, certificate first: not good until its key is there as well
    old = OpenSSL()
    workers = s.pids("smtpd")
    next_ec = env.cert("next.test")
    since = s.mark()
    install(files["ec.pem"], read(next_ec[0]))
    s.wait_log(r"certificate does not fit its private key; the certificates in use stay", since)
    kit.check(subject(25, "-sigalgs", "ecdsa_secp256r1_sha256") == "CN=ec.test", "the old pair stays")
    install(files["ec.key"], read(next_ec[1]))
    kit.wait_until("the new pair", lambda: subject(25, "-sigalgs", "ecdsa_secp256r1_sha256") == "CN=next.test")
    kit.check(subject(25, "-sigalgs", "rsa_pss_rsae_sha256") == "CN=rsa.test", "the other pair is as it was")
    s.wait_log(r"keeper\[\d+\]: .*rsa\.pem: new certificates are in use", since)
    # what is cut off, out of date or misses its issuers stays out
    whole = read(*rsa[::-1])
    for text, said in ((whole[:len(whole) // 2], r"malformed PEM text|without a certificate"), ("", r"no key and no certificate in it")):
        since = s.mark()
        install(files["sni.chain"], text)
        install(files["ed.chain"], text)
        s.wait_log(r"ed\.chain: .*(%s).*; the certificates in use stay" % said, since)
        kit.check(subject(27, "-sigalgs", "ed25519") == "CN=ed.test", "ed.test stays")
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "late.key", "-out", "late.csr", "-subj", "/CN=late.test")
    env.sign_expired("late", "ca", "subjectAltName=DNS:late.test")
    since = s.mark()
    install(files["client.chain"], read(env.path("late.key"), env.path("late.pem")))
    s.wait_log(r"client\.chain: the certificate has expired; the certificates in use stay", since)
    since = s.mark()
    install(files["client.chain"], read(next_ec[1], next_ec[0], env.ca("elsewhere")))
    s.wait_log(r"client\.chain: the chain is not complete: .*; the certificates in use stay", since)
    # smtpc shows the new certificate to the next server
    kit.check(kit.send(rcpts="user@example.com").startswith("250 "), "first mail")
    kit.wait_until("the first delivery", lambda: sink.messages)
    since = s.mark()
    install(files["client.chain"], read(next_ec[1], next_ec[0], env.ca()))
    s.wait_log(r"client\.chain: new certificates are in use", since)
    kit.check(kit.send(rcpts="user@example.com").startswith("250 "), "second mail")
    kit.wait_until("the second delivery", lambda: len(sink.messages) == 2)
    kit.check(shown == ["ec.test", "next.test"], shown)
    # sessions and processes are where they were
    kit.check(old.say("NOOP")[0] == 250, "the old session goes on")
    old.close()
    kit.check(s.pids("smtpd") == workers, "no process was replaced")
