"""signet map --from-sendmail: a Sendmail access database is converted, runs, and each of its rows does what Sendmail did with it."""
import os
import re
import ssl

import kit
from client_kit import GnuTLS, Gone, OpenSSL, Swaks, hello

ACCESS = """\
# clients
TLS_Clt:partner.example\t\tVERIFY:128+CN
TLS_Clt:198.18.0.31\t\tVERIFY
TLS_Clt:198.18.0.32\t\tPERM+VERIFY
TLS_Clt:198.18.0.33\t\tTEMP+ENCR:112
TLS_Clt:198.18.0.34\t\tENCR:256
TLS_Clt:198.18.0.35\t\tVERIFY+CN:other.example++CI:/CN=Test+20ca
TLS_Clt:198.18.0.36\t\tVERIFY+CS:/CN=other.example
TLS_Clt:198.18.0.37\t\tVERIFY+CITag:GoodCA
TLS_Clt:198.18.0.40\t\tOK
TLS_Clt:198.18.1\t\tENCR:1
TLS_Clt:\t\t\tENCR:40
GoodCA:/CN=Test+20ca\t\tOK
Srv_Features:198.18.0.40\tS
Srv_Features:198.18.0.41\tV
# servers
TLS_Srv:mail.enc.example\tENCR:112
TLS_Rcpt:verify.example\t\tVERIFY
TLS_Rcpt:named.example\t\tVERIFY+CN:other.example
TLS_Rcpt:words.example\t\tENCR:112
Try_TLS:broken.example\t\tNO
# relay
CERTISSUER:/CN=Test+20rel\tRELAY
CERTISSUER:/CN=Test+20sub\tSUBJECT
CERTSUBJECT:/CN=joe\t\tRELAY
# no equivalent
TLS_Rcpt:joe@verify.example\tENCR:128
TLS_Srv:192.0.2\t\t\tVERIFY
TLS_Clt_Features:198.18.0.31\tCipherList=HIGH
From:spammer@example.net\tREJECT
"""
# names of clients, IPv6, letters, no bare demand; what cannot be said in our tables for servers
ACCESS2 = """\
TLS_Clt:host.partner.example\tVERIFY
TLS_Clt:IPv6:2001:db8::5\tPERM+ENCR:1
TLS_Clt:IPv6:2001:0DB8:0:0:0:0:0:7\tVERIFY
TLS_Clt:IPv6:2001:db8:1\tTEMP+ENCR:1
Srv_Features:off.example\tS
Srv_Features:ask.example\tv
Srv_Features:IPv6:2001:db8::6\tS
Srv_Features:198.18.0.50\tA P
Srv_Features:\tV
TLS_Srv:198.18.0.65\tENCR:112
TLS_Srv:mail.par.example\tTEMP+VERIFY:128+CN
TLS_Srv:other.example\tPERM+VERIFY
TLS_Srv:\tENCR:1
TLS_Rcpt:joe@\tVERIFY
TLS_Rcpt:\tVERIFY
Try_TLS:198.18.0.66\tNO
"""
LEFT2 = {"Srv_Features:198.18.0.50": "nothing in it is about TLS", "TLS_Srv:": "set smtp_tls_security_level = encrypt$", "TLS_Rcpt:joe@": "destinations are domains",
         "TLS_Rcpt:": "set smtp_tls_security_level = verify", "Try_TLS:198.18.0.66": r"TLS_Srv \(line 13\) demands what this switches off"}
LEFT = ("TLS_Rcpt:joe@verify.example", "TLS_Srv:192.0.2", "TLS_Clt_Features:198.18.0.31", "From:spammer@example.net")


def convert(env, text, left, converted, files, out):
    """What `signet map --from-sendmail` puts on standard output; `left`: what it must say of entries without an equivalent."""
    access = env.write("access", text)
    os.makedirs(out)
    r = kit.subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "map", "--from-sendmail", "--output", out, access],
                           stdout=kit.subprocess.PIPE, stderr=kit.subprocess.PIPE, text=True)
    kit.check(r.returncode == 1, "something was left: %d %s" % (r.returncode, r.stderr))
    lines = text.splitlines()
    for key, words in left.items():
        at = [i for i, line in enumerate(lines) if line.startswith(key + "\t")][0] + 1
        kit.check(re.search(r"^%s:%d: %s: .*%s" % (re.escape(access), at, re.escape(key), words), r.stderr, re.M), "%s at line %d is not told: %s" % (key, at, r.stderr))
    kit.check(r.stderr.splitlines()[-1] == "map: %d converted, %d without an equivalent" % (converted, len(left)), r.stderr)
    kit.check(sorted(os.listdir(out)) == files, os.listdir(out))
    again = kit.sh(os.path.join(kit.BUILD, "src", "signet"), "map", "--from-sendmail", "--output", out, access, check_status=False)
    kit.check("tls_clients: File exists" in again, "what is there already is not overwritten: %s" % again)
    return r.stdout


def talk(addr, pair=None, tls=True, rcpt="user@local.example", args=(), host="127.0.0.1"):
    """The reply that decides about mail from this client; 0 = STARTTLS is not offered to it."""
    if not tls:
        return Swaks(host=host, source=addr, rcpt=rcpt).last()
    try:
        with OpenSSL(host=host, source=addr, pair=pair, args=args) as c:
            c.ehlo()
            return c.mail("a@b.example", rcpt)
    except Gone:
        w = Swaks(host=host, source=addr, rcpt=rcpt)
        kit.check("STARTTLS" not in w.steps[1][2], "no handshake, but it is offered: %s" % w.out)
        return 0, "no STARTTLS"


def post(rcpt):
    with OpenSSL() as c:
        c.ehlo()
        kit.check(c.mail("a@b.example", rcpt, body="Subject: x\n\nx\n")[0] == 250, "mail for " + rcpt)


def asked(addr, host="127.0.0.1"):
    with OpenSSL(host=host, source=addr, args=("-msg",)) as c:
        c.ehlo()
        return "CertificateRequest" in c.facts()


def run(env):
    kit.need("openssl")
    for net in ("198.18.0.0/24", "198.18.1.0/24"):
        kit.sh("ip", "route", "add", "local", net, "dev", "lo")
    for addr in ("2001:db8::5", "2001:db8::6", "2001:db8::7", "2001:db8::8", "2001:db8:1::9"):
        kit.sh("ip", "-6", "addr", "add", addr + "/128", "dev", "lo", "nodad")
    cert, key = env.cert("mx.test")
    partner, other = env.cert("mx.partner.example"), env.cert("other.example")
    foreign = env.cert("other.example", ca="other")
    rel, joe, ann = env.cert("any", ca="rel"), env.cert("joe", ca="sub"), env.cert("ann", ca="sub")
    env.dns(["11.0.18.198.in-addr.arpa. PTR mx.partner.example.", "mx.partner.example. A 198.18.0.11"] +
            [line for d, a in (("enc", 61), ("verify", 62), ("named", 63), ("broken", 64), ("sub.verify", 62)) for line in
             ("%s.example. MX 10 mail.%s.example." % (d, d), "mail.%s.example. A 198.18.0.%d" % (d, a))] +
            [line for a, name in ((14, "host.partner.example"), (15, "off.example"), (16, "ask.example"), (17, "sub.ask.example")) for line in
             ("%d.0.18.198.in-addr.arpa. PTR %s." % (a, name), "%s. A 198.18.0.%d" % (name, a))] +
            ["%s.words.example. A 198.18.0.%d" % (w, a) for w, a in (("none", 61), ("temp", 71), ("protocol", 72), ("software", 73), ("ok", 62))])
    tables = env.path("mx", "etc", "tables")
    main = convert(env, ACCESS, dict.fromkeys(LEFT, ""), 22, ["cert_issuers", "cert_subjects", "issuers_goodca", "tls_clients", "tls_servers"], tables)
    anchors = env.write("anchors.pem", "".join(open(env.ca(c)).read() for c in ("ca", "rel", "sub")))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtp_tls_CAfile = %s\n"
                   "smtp_tls_security_level = may\nmynetworks = 127.0.0.1 198.18.0.0/18\nmydestination = local.example\nlocal_recipient_maps =\n"
                   "smtp_tls_loglevel = 1\nminimal_backoff_time = 300s\n%s%s" % (cert, key, anchors, env.ca(), env.dns_params, main))
    out = s.cli("check", check_status=False)
    kit.check(" error" not in out.lower() or "0 errors" in out, "signet check: %s" % out)

    weak = {"args": ("-tls1_2", "-cipher", "ECDHE+AES128")}
    for addr, pair, tls, code, words, kw in (
            # VERIFY:128+CN, found by a parent of the confirmed name: ${verify} must be OK, the strength enough, the CN the host's name
            ("198.18.0.11", partner, True, 250, "", {}), ("198.18.0.11", partner, True, 250, "", weak), ("198.18.0.11", other, True, 454, "authentication failed", {}),
            ("198.18.0.11", None, True, 454, "authentication required", {}), ("198.18.0.11", None, False, 454, "encryption required", {}),
            # VERIFY: OK, FAIL, NO, and no STARTTLS at all; without prefix 454 4.7.0
            ("198.18.0.31", other, True, 250, "", {}), ("198.18.0.31", foreign, True, 454, "authentication failed", {}),
            ("198.18.0.31", None, True, 454, "authentication required", {}), ("198.18.0.31", None, False, 454, "encryption required", {}),
            # PERM+: 503 5.7.0; TEMP+: 403 4.7.0
            ("198.18.0.32", None, True, 503, "5.7.0 ", {}), ("198.18.0.32", other, True, 250, "", {}),
            ("198.18.0.33", None, False, 403, "4.7.0 ", {}), ("198.18.0.33", None, True, 250, "", {}),
            # ENCR:256
            ("198.18.0.34", None, True, 250, "", {}), ("198.18.0.34", None, True, 454, "encryption too weak 128 less than 256", weak),
            ("198.18.0.34", None, False, 454, "encryption required", {}),
            # extensions, all of them
            ("198.18.0.35", other, True, 250, "", {}), ("198.18.0.35", partner, True, 454, "another name", {}), ("198.18.0.36", other, True, 250, "", {}),
            ("198.18.0.36", partner, True, 454, "not the one expected", {}), ("198.18.0.37", other, True, 250, "", {}),
            ("198.18.0.37", rel, True, 454, "the issuer of the client certificate is not accepted here", {}),
            # a value of another shape is accepted; S: no STARTTLS
            ("198.18.0.40", None, False, 250, "", {}), ("198.18.0.40", None, True, 0, "no STARTTLS", {}),
            # a network, and the bare tag for everybody else
            ("198.18.1.9", None, False, 454, "encryption required", {}), ("198.18.1.9", None, True, 250, "", weak),
            ("198.18.0.77", None, False, 454, "encryption required", {}), ("198.18.0.77", None, True, 250, "", weak),
            # V: no certificate is asked for; the bare demand still holds
            ("198.18.0.41", None, False, 454, "encryption required", {}), ("198.18.0.41", None, True, 250, "", {})):
        got = talk(addr, pair, tls, **kw)
        kit.check(got[0] == code and words in got[1], "%s %s %s: %s" % (addr, pair, tls, got))
    kit.check(asked("198.18.0.77") and not asked("198.18.0.41"), "V: no certificate is asked for")
    # after STARTTLS and again at MAIL: who says MAIL without STARTTLS is told, may still do it, and is tested again
    with GnuTLS() as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>")[0] == 454, "the bare demand, in clear")
        kit.check(c.starttls()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>")[0] == 250, "and behind STARTTLS")
    # SOFTWARE: a handshake that fails ends the session; nothing is accepted in clear instead
    mark = s.mark()
    kit.check("handshake failure" in hello(25, "-tls1_2", "-cipher", "aRSA", source="198.18.0.31"), "SOFTWARE")
    s.wait_log(r"SSL_accept error from \S+\[198\.18\.0\.31\]", mark)
    # CERTISSUER, CERTSUBJECT: who may relay; 198.18.64.1 is no client of mynetworks
    kit.sh("ip", "route", "add", "local", "198.18.64.0/24", "dev", "lo")
    for pair, code in ((rel, 250), (joe, 250), (ann, 554), (other, 554), (None, 554)):
        got = talk("198.18.64.1", pair, rcpt="x@elsewhere.example")
        kit.check(got[0] == code, "relay with %s: %s" % (pair, got))
    # as client
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(*other)
    tls = dict(tls=ctx, keywords=("STARTTLS", "8BITMIME"))
    enc, verify, named, broken = (env.sink("198.18.0.%d" % n, **(tls if n != 61 else {})) for n in (61, 62, 63, 64))

    for domain, who, pattern in (("mail.enc.example", enc, r"to=<u@mail\.enc\.example>.* status=deferred \(TLS is required, but was not offered"),
                                 ("verify.example", verify, r"to=<u@verify\.example>.* status=deferred \(Server certificate not verified"),
                                 ("sub.verify.example", verify, r"to=<u@sub\.verify\.example>.* status=deferred \(Server certificate not verified"),
                                 ("named.example", named, r"Verified TLS connection established to mail\.named\.example"),
                                 ("broken.example", broken, r"to=<u@broken\.example>.* status=sent")):
        before = len(who.messages)
        post("u@" + domain)
        s.wait_log(pattern)
        kit.check("deferred" not in pattern or len(who.messages) == before, domain)
    kit.check("STARTTLS" not in broken.commands and "STARTTLS" in named.commands, "Try_TLS (CLEAR)")
    kit.wait_until("named.example", lambda: named.messages)
    states(env, s)
    s.stop()
    second(env, cert, key, other, foreign)


def states(env, s):
    """What Sendmail calls NONE, TEMP, PROTOCOL, SOFTWARE under a demand for encryption: mail waits, and nothing goes out in clear."""
    def breaks(conn, line):
        conn.sendall(b"220 go\r\n")
        conn.recv(10000)
        conn.sendall(b"this is no handshake\r\n")
        return False
    sinks = [env.sink("198.18.0.71", keywords=("STARTTLS",), script={"STARTTLS": "454 4.7.0 not now"}),
             env.sink("198.18.0.72", keywords=("STARTTLS",), script={"STARTTLS": "501 5.5.4 what"}),
             env.sink("198.18.0.73", keywords=("STARTTLS",), script={"STARTTLS": breaks})]
    for word, said in (("none", "TLS is required, but was not offered"), ("temp", "TLS is required, but"), ("protocol", "TLS is required, but"),
                       ("software", "Cannot start TLS: handshake failure")):
        post("u@%s.words.example" % word)
        s.wait_log(r"to=<u@%s\.words\.example>.* status=deferred \(.*%s" % (word, said))
    kit.check(not any(k.messages or [c for c in k.commands if c.startswith("MAIL")] for k in sinks), "nothing in clear")
    post("u@ok.words.example")
    s.wait_log(r"to=<u@ok\.words\.example>.* status=sent")


def second(env, cert, key, other, foreign):
    """Hosts and IPv6 among the clients, letters, no bare demand; keys of servers that are left, and what to do instead."""
    tables = env.path("two", "etc", "tables")
    main = convert(env, ACCESS2, LEFT2, 11, ["tls_clients", "tls_servers"], tables)
    s = env.signet("two", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "mydestination = local.example\nlocal_recipient_maps =\ninet_protocols = all\nmynetworks = 198.18.0.0/16 127.0.0.0/8\n"
                   "smtp_tls_CAfile = %s\nsmtp_tls_security_level = may\ntransport_maps = inline:{ { net.example = smtp:[198.18.0.65] } }\n"
                   "minimal_backoff_time = 300s\n%s%s" % (cert, key, env.ca(), env.ca(), env.dns_params, main),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "[::1]:25 inet n - n - - smtpd\n")
    # the host's own name; no entry, and no bare one that demands: accepted
    for addr, pair, tls, code, host in (("198.18.0.14", None, False, 454, "127.0.0.1"), ("198.18.0.14", foreign, True, 454, "127.0.0.1"), ("198.18.0.14", other, True, 250, "127.0.0.1"),
                                        ("198.18.0.99", None, False, 250, "127.0.0.1"), ("198.18.0.99", foreign, True, 250, "127.0.0.1"),
                                        # Srv_Features by host name: S
                                        ("198.18.0.15", None, False, 250, "127.0.0.1"), ("198.18.0.15", None, True, 0, "127.0.0.1"),
                                        # IPv6: an address, one written in full, a network, S
                                        ("2001:db8::5", None, False, 503, "::1"), ("2001:db8::5", None, True, 250, "::1"), ("2001:db8::7", None, True, 454, "::1"),
                                        ("2001:db8::7", other, True, 250, "::1"), ("2001:db8:1::9", None, False, 403, "::1"), ("2001:db8:1::9", None, True, 250, "::1"),
                                        ("2001:db8::8", None, False, 250, "::1"), ("2001:db8::6", None, False, 250, "::1"), ("2001:db8::6", None, True, 0, "::1")):
        got = talk(addr, pair, tls, host=host)
        kit.check(got[0] == code, "%s %s %s: %s" % (addr, pair, tls, got))
    # v and V: who is asked for a certificate (a demand for one asks anyway)
    for addr, host, want in (("198.18.0.99", "127.0.0.1", False), ("198.18.0.16", "127.0.0.1", True), ("198.18.0.17", "127.0.0.1", True), ("198.18.0.14", "127.0.0.1", True),
                             ("2001:db8::5", "::1", False), ("2001:db8::7", "::1", True)):
        kit.check(asked(addr, host) == want, "a certificate of %s" % addr)
    # servers: an address as next hop, a parent's demand with CN
    clear = env.sink("198.18.0.65")
    post("u@net.example")
    s.wait_log(r"to=<u@net\.example>.* status=deferred \(TLS is required, but was not offered")
    kit.check(not clear.messages, "nothing in clear")
    s.stop()
