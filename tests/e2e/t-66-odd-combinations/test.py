"""Settings that each work, together: more authorities than a client can be told of; an entry that relaxes at a service that demands, and plain RSA;
chains of clients that are odd at an authority."""
import re

import kit
from client_kit import GnuTLS, OpenSSL, hello

ASK = "smtpd_tls_ask_ccert = yes\n"


def authority(env, i):
    """A root with a long name: 2 kB."""
    env.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "long.key", "-out", "long.pem",
                "-days", "30", "-subj", "".join("/OU=%02d%s" % (j, "y" * 60) for j in range(28)) + "/CN=Authority %d" % i)
    with open(env.path("long.pem")) as f:
        return f.read()


def issue(env, name, subject, ca, ext, expired=False, key=None):
    """A certificate by `ca`, a name of files; with `key` another one for that key."""
    if key is None:
        env.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
    env.openssl("req", "-new", "-key", (key or name) + ".key", "-out", name + ".csr", "-subj", subject)
    if expired:
        env.sign_expired(name, ca, ext)
        return
    env.openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-CAcreateserial",
                "-out", name + ".pem", "-extfile", env.write(name + ".ext", ext), "-days", "9")


def chains(env):
    """What a client may send along with one and the same certificate, and what is wrong with it; None = nothing."""
    authority, client = "basicConstraints=critical,CA:TRUE\n", "extendedKeyUsage=clientAuth\nsubjectAltName=DNS:c.test\n"
    env.ca("old")
    issue(env, "sub", "/CN=sub", "ca", authority)
    issue(env, "sub-old", "/CN=sub", "old", authority, key="sub")
    issue(env, "sub-expired", "/CN=sub", "ca", authority, expired=True, key="sub")
    issue(env, "cross", "/CN=Test ca", "old", authority, expired=True, key="ca")
    issue(env, "c", "/CN=c.test", "sub", client)
    issue(env, "constrained", "/CN=constrained", "ca", authority + "nameConstraints=permitted;DNS:other.test\n")
    issue(env, "c2", "/CN=c.test", "constrained", client)
    issue(env, "c3", "/CN=c.test", "c", client)
    issue(env, "c4", "/CN=c.test", "sub", client + "1.2.3.4=critical,DER:0500\n")
    return ((("c", "sub"), None), (("c", "sub", "cross"), None), (("c", "sub-expired", "sub"), None), (("c", "sub", *["sub-old", "old", "cross"] * 10), None),
            (("c",), "untrusted issuer /CN=sub"), (("c", "sub-old"), "untrusted issuer /CN=Test old"),
            (("c", "sub-expired"), "of an authority above it: certificate has expired"), (("c2", "constrained"), "num=47:permitted subtree violation"),
            (("c3", "c", "sub"), r"of an authority above it: num=\d+:invalid CA certificate"), (("c4", "sub"), "num=34:unhandled critical extension"))


def cipher(port, source, *suites):
    found = re.search(r"Cipher is (\S+)", hello(port, "-tls1_2", "-cipher", ":".join(suites), source=source))
    return found and found.group(1)


def run(env):
    kit.need("openssl", "gnutls-cli")
    kit.sh("ip", "route", "add", "local", "198.18.0.0/24", "dev", "lo")
    cert, key = env.cert("mx.test", key="rsa")
    client = env.cert("client.test")
    with open(env.ca()) as f:
        own = f.read()
    long = [authority(env, i) for i in range(34)]
    files = {"few": own + "".join(long[:12]), "many": own + "".join(long)}
    d = env.path("mx", "etc")
    services = {
        2501: ["smtpd_tls_CAfile = %s/many" % d],
        2502: ["smtpd_tls_CAfile = %s/few" % d],
        2503: ["smtpd_tls_security_level = encrypt", "smtpd_tls_policy_maps = inline:{ {198.18.0.5 = may} }"],
        2504: ["smtpd_tls_security_level = none", "smtpd_tls_policy_maps = inline:{ {198.18.0.5 = may} }"],
        2505: ["smtpd_tls_CAfile = %s" % env.ca(), "smtpd_tls_policy_maps = inline:{ {127.0.0.1 = verify match=c.test} }"],
    }
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in services.items():
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n%ssmtpd_tls_loglevel = 1\n"
                   "smtpd_peername_lookup = no\nmydestination = mx.test\n" % (cert, key, ASK), master, files)
    # 34 names of 2 kB: 64 kB and more would be no CertificateRequest. All are trusted, none is announced.
    s.wait_log(r"warning: smtpd_tls_CAfile: %s/many: the names of its 35 authorities are more than a client takes \(32000 bytes\), so none is announced" % re.escape(d))
    kit.check(not s.has_log(r"%s/few: the names" % re.escape(d)), "a list that clients take")
    for port in (2501, 2502):
        for version in ("-tls1_2", "-tls1_3"):
            mark = s.mark()
            with OpenSSL(port, pair=client, args=(version,)) as c:
                kit.check(c.ehlo()[0] == 250, "a session at %d %s" % (port, version))
            s.wait_log(r"Trusted TLS connection established from unknown\[127\.0\.0\.1\]", mark)
            told = hello(port, version).count("CN = Authority") + hello(port, version).count("CN=Authority")
            kit.check((told > 0) == (port == 2502), "%d names told at %d %s" % (told, port, version))
        with GnuTLS(port, pair=client) as c:
            kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls()[0] == 220 and c.ehlo()[0] == 250, "GnuTLS at %d" % port)
    # keeper decrypts for level may alone. What an entry relaxes elsewhere must not end in a handshake that keeper refuses to finish.
    for port, source in ((2503, "198.18.0.5"), (2503, None), (2504, "198.18.0.5")):
        got = cipher(port, source, "AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
        kit.check(got == "ECDHE-RSA-AES128-GCM-SHA256", "plain RSA first, then ECDHE, at %d for %s: %s" % (port, source, got))
    kit.check(cipher(25, None, "AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256") == "AES128-GCM-SHA256", "level may: the client chooses")
    # expired, cross-signed, superfluous, constrained: the first thing wrong is told, with whose it is
    for n, (sent, wrong) in enumerate(chains(env)):
        pem = env.write("sent%d" % n, "".join(open(env.path(name + ".pem")).read() for name in sent))
        for version in ("-tls1_2", "-tls1_3"):
            mark = s.mark()
            with OpenSSL(2505, pair=(env.path(sent[0] + ".pem"), env.path(sent[0] + ".key")), args=("-cert_chain", pem, version)) as c:
                c.ehlo()
                got = c.say("MAIL FROM:<a@b.example>")
            s.wait_log(r"%srusted TLS connection established from" % ("Unt" if wrong else " T"), mark)
            kit.check(got[0] == (454 if wrong else 250), "%s %s: %s" % (sent, version, got))
            if wrong:
                s.wait_log(r"reject: STARTTLS from .*: authentication failed: the client certificate is not trusted: %s \(smtpd_tls_policy_maps" % wrong, mark)
