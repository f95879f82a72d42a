"""The small print of inbound TLS: what wrapper mode does with levels, what is open before STARTTLS, settings that switch TLS off, who
counts as a new session, system authorities, weak signatures, what stands in Received and where."""
import os
import re

import kit
from client_kit import GnuTLS, OpenSSL, hello


def no_tls(s, port, said):
    """TLS is not there: not announced, 454 to who says it all the same, and the log says why."""
    s.wait_log(r"warning: .*%s" % said)
    with GnuTLS(port) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and not c.offers("STARTTLS"), "not announced: %s" % said)
        kit.check(c.say("STARTTLS") == (454, "4.7.0 TLS not available due to local problem"), "454: %s" % said)
        kit.check(c.say("STARTTLS x") == (501, "5.5.4 Syntax: STARTTLS") and c.say("MAIL FROM:<a@b.example>")[0] == 250, "in clear it goes on")


def levels(s):
    for port in (2501, 2502):
        with OpenSSL(port, wrap=True) as c:
            kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.say("STARTTLS")[0] == 554 and c.say("MAIL FROM:<a@b.example>")[0] == 250, "wrapper mode at %d" % port)
    kit.check(not s.has_log(r"wrapped/smtpd.*warning: .*security_level"), "nobody looks at the level there")
    with GnuTLS(2503) as c:
        kit.check(c.reply()[0] == 220 and c.say("STARTTLS now") == (501, "5.5.4 Syntax: STARTTLS") and c.say("STARTTLS")[0] == 502, "an argument is wrong even where TLS is off")
    # before STARTTLS at level encrypt
    must = (530, "5.7.0 Must issue a STARTTLS command first")
    with GnuTLS(2504) as c:
        c.reply()
        kit.check(c.say("HELO c.test")[0] == 250 and c.ehlo()[0] == 250 and c.offers("XCLIENT") and c.say("NOOP")[0] == 250 and c.say("HELP")[0] == 214, "open before STARTTLS")
        for line in ("MAIL FROM:<a@b.example>", "RCPT TO:<a@b.example>", "DATA", "RSET", "VRFY a", "ETRN b.example", "BDAT 0 LAST", "AUTH PLAIN", "XFORWARD NAME=x"):
            kit.check(c.say(line) == must, "%s before STARTTLS" % line)
        kit.check(c.say("XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.9")[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>") == must, "XCLIENT before STARTTLS")
        kit.check(c.starttls()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>")[0] == 250 and c.say("STARTTLS now")[0] == 501 and
                  c.say("STARTTLS")[0] == 554, "behind it")


def new_sessions(env, s):
    """Who resumes makes no new session."""
    session = env.path("resumed")
    for _ in range(2):
        with OpenSSL(2508, args=("-tls1_2", "-sess_out", session)) as c:
            kit.check(c.ehlo()[0] == 250, "a new session")
    for _ in range(4):
        with OpenSSL(2508, args=("-tls1_2", "-sess_in", session)) as c:
            kit.check(c.ehlo()[0] == 250, "a resumed session does not count")
    with OpenSSL(2508, args=("-tls1_2",)) as c:
        kit.check(c.reply()[0] == 421 and c.ended(), "one new session too many")
    # before the handshake nobody can tell; then the limit holds for all
    with GnuTLS(2508) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.say("STARTTLS")[0] == 454, "over the limit")


def authorities(env, s, sink, good, weak, public):
    def verified(port, pair):
        before = len(sink.messages)
        with OpenSSL(port, pair=pair, args=("-cipher", "DEFAULT:@SECLEVEL=0")) as c:
            c.ehlo()
            kit.check(c.mail("a@b.example", "u@example.com", body="Subject: x\n\nx\n")[0] == 250, "mail at %d" % port)
        kit.wait_until("delivery", lambda: len(sink.messages) > before)
        return "(verified OK)" in sink.messages[-1]["data"].decode()

    # the system's authorities: tls_append_default_CA, and one of CAfile and CApath
    for port, who, want in ((2509, good, True), (2509, public, os.geteuid() == 0), (2510, public, False), (25, public, False), (25, good, True)):
        kit.check(verified(port, who) == want, "port %d, %s: wanted %s" % (port, who[0], want))
    # OpenSSL's security level: 0, and 1 where certificates are required
    kit.check(verified(25, weak), "SHA-1 where a certificate is optional")
    with OpenSSL(2511, pair=weak, args=("-cipher", "DEFAULT:@SECLEVEL=0")) as c:
        kit.check(c.ehlo() == (554, "5.7.1 mx.test Error: Client certificate not trusted"), "SHA-1 where a certificate is required")
    kit.check(verified(2511, good), "SHA-256 where a certificate is required")


def received(s, sink):
    def header(*rcpts, sender="a@b.example", how=""):
        before = len(sink.messages)
        with OpenSSL(2512) as c:
            c.ehlo()
            got = [c.say("MAIL FROM:<%s>%s" % (sender, how))[0]] + [c.say("RCPT TO:<%s>" % r)[0] for r in rcpts] + [c.say("DATA")[0], c.say("Subject: x\r\n\r\nx\r\n.")[0]]
            kit.check(set(got) == {250, 354}, got)
        kit.wait_until("delivery", lambda: len(sink.messages) > before)
        return sink.messages[-1]["data"].decode()

    got = header("u@example.com")
    kit.check(re.match(r"X-First: seen\r\nReceived: from c\.test \(\w+ \[127\.0\.0\.1\]\)\r\n\t\(using TLSv1\.3 with cipher [A-Z0-9_]+ \(\d+/\d+ bits\)\r\n"
                       r"\t key-exchange \S+ server-signature ECDSA \(prime256v1\) server-digest SHA256\)\r\n\t\(No client certificate requested\)\r\n"
                       r"\tby mx\.test \(\w+\) with ESMTPS id \w+\r\n\tfor <u@example\.com>; ", got), "PREPEND, then Received with all its parts: %s" % got)
    kit.check("for <" not in header("u@example.com", "v@example.com"), "no recipient is named when there are two")
    kit.check("with UTF8SMTPS id" in header("u@example.com", how=" SMTPUTF8"), "SMTPUTF8 under TLS (RFC 6531 4.3)")


def run(env):
    kit.need("openssl", "gnutls-cli")
    cert, key = env.cert("mx.test")
    other = env.cert("other.test")
    good, public = env.cert("client.test"), env.cert("client.test", ca="public")
    weak = env.cert("weak.test")
    csr = weak[0][:-4] + ".csr"
    env.openssl("x509", "-req", "-sha1", "-in", csr, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", weak[0], "-days", "20")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2", keywords=("PIPELINING", "8BITMIME", "SMTPUTF8"))
    both = env.write("both.pem", open(other[1]).read() + open(other[0]).read(), 0o600)
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    off = ["smtpd_tls_cert_file =", "smtpd_tls_key_file ="]
    for port, over in ((2501, ["smtpd_tls_wrappermode = yes", "smtpd_tls_security_level = none"]),
                       (2502, ["smtpd_tls_wrappermode = yes", "smtpd_tls_security_level = secure", "syslog_name = wrapped"]),
                       (2503, ["smtpd_tls_security_level = NONE"]),
                       (2504, ["smtpd_tls_security_level = Encrypt", "smtpd_authorized_xclient_hosts = 127.0.0.1", "smtpd_authorized_xforward_hosts = 127.0.0.1"]),
                       (2505, off),
                       (2506, ["smtpd_tls_fingerprint_digest = md17"]),
                       (2507, ["tls_session_ticket_cipher = aes-128-gcm"]),
                       (2508, ["smtpd_client_new_tls_session_rate_limit = 2", "smtpd_client_event_limit_exceptions ="]),
                       (2509, ["tls_append_default_CA = yes"]),
                       (2510, ["tls_append_default_CA = yes", "smtpd_tls_CAfile ="]),
                       (2511, ["smtpd_tls_security_level = encrypt", "smtpd_tls_req_ccert = yes"]),
                       (2512, ["smtpd_tls_ask_ccert = no", "smtpd_sender_restrictions = check_sender_access inline:{ { b.example = PREPEND X-First: seen } }"]),
                       (2514, ["smtpd_tls_cert_file = %s" % both, "smtpd_tls_key_file = $smtpd_tls_cert_file"]),
                       (2515, ["smtpd_tls_security_level = May"]),
                       (2513, ["smtpd_tls_chain_files = %s %s" % other[::-1]])):
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    main = ("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtpd_tls_ask_ccert = yes\n"
            "smtpd_tls_received_header = yes\nsmtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\n" % (cert, key, env.ca()))
    # the machine's authorities are the test's own
    system = env.path("system")
    os.makedirs(system)
    kit.sh("sh", "-c", "cp %s %s/ && openssl rehash %s" % (env.ca("public"), system, system))
    s = env.signet("mx", main, master, start=False)
    if os.geteuid() == 0:
        s.prefix = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/ssl/certs && exec "$@"', system]
    s.start()
    levels(s)
    no_tls(s, 2505, "No server certs available. TLS won't be enabled")
    no_tls(s, 2506, 'smtpd_tls_fingerprint_digest: unknown digest "md17"')
    no_tls(s, 2507, 'tls_session_ticket_cipher: "aes-128-gcm" is not a CBC cipher')
    new_sessions(env, s)
    authorities(env, s, sink, good, weak, public)
    received(s, sink)
    # chain files instead of pairs
    s.wait_log(r"warning: smtpd_tls_chain_files is set: smtpd_tls_cert_file and the like are ignored")
    kit.check(re.search(r"subject=CN ?= ?other\.test", hello(2513)), "the chain file's certificate")
    kit.check(re.search(r"subject=CN ?= ?other\.test", hello(2514)), "the key file is the certificate file by default")
    kit.check("CN" in hello(2515), "levels in any case")
    s.stop()
    # a level that no server has, or that is none: nothing is started
    for level in ("dane", "dane-only", "maybe"):
        t = env.signet("bad", main, kit.MASTER_CF.format(smtp="127.0.0.1:25") + " -o smtpd_tls_security_level=%s\n" % level, start=False)
        out = t.cli("check", check_status=False)
        kit.check(re.search(r"error: .*smtpd_tls_security_level", out), "%s: %s" % (level, out))
        t.start(wait=False)
        kit.wait_until("the refusal to start at level %s" % level, lambda: not t.proc.alive())
        kit.check(t.proc.p.returncode != 0, "level %s" % level)
