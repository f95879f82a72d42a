"""signet map --from-sendmail: a Sendmail access database is converted, runs, and each of its rows does what Sendmail did with it."""
import os
import re
import smtplib
import ssl

import kit

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
LEFT = ("TLS_Rcpt:joe@verify.example", "TLS_Srv:192.0.2", "TLS_Clt_Features:198.18.0.31", "From:spammer@example.net")


def convert(env, access, out):
    os.makedirs(out)
    r = kit.subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "map", "--from-sendmail", "--output", out, access],
                           stdout=kit.subprocess.PIPE, stderr=kit.subprocess.PIPE, text=True)
    kit.check(r.returncode == 1, "something was left: %d %s" % (r.returncode, r.stderr))
    lines = ACCESS.splitlines()
    for key in LEFT:
        at = [i for i, line in enumerate(lines) if line.startswith(key + "\t")][0] + 1
        kit.check(re.search(r"^%s:%d: %s: " % (re.escape(access), at, re.escape(key)), r.stderr, re.M), "%s at line %d is not told: %s" % (key, at, r.stderr))
    kit.check(r.stderr.splitlines()[-1] == "map: 21 converted, 4 without an equivalent", r.stderr)
    kit.check(sorted(os.listdir(out)) == ["cert_issuers", "cert_subjects", "issuers_goodca", "tls_clients", "tls_servers"], os.listdir(out))
    again = kit.sh(os.path.join(kit.BUILD, "src", "signet"), "map", "--from-sendmail", "--output", out, access, check_status=False)
    kit.check("tls_clients: File exists" in again, "what is there already is not overwritten: %s" % again)
    return r.stdout


def run(env):
    kit.need("openssl")
    for net in ("198.18.0.0/24", "198.18.1.0/24"):
        kit.sh("ip", "route", "add", "local", net, "dev", "lo")
    cert, key = env.cert("mx.test")
    partner, other = env.cert("mx.partner.example"), env.cert("other.example")
    foreign = env.cert("other.example", ca="other")
    rel, joe, ann = env.cert("any", ca="rel"), env.cert("joe", ca="sub"), env.cert("ann", ca="sub")
    env.dns(["11.0.18.198.in-addr.arpa. PTR mx.partner.example.", "mx.partner.example. A 198.18.0.11"] +
            [line for d, a in (("enc", 61), ("verify", 62), ("named", 63), ("broken", 64), ("sub.verify", 62)) for line in
             ("%s.example. MX 10 mail.%s.example." % (d, d), "mail.%s.example. A 198.18.0.%d" % (d, a))])
    tables = env.path("mx", "etc", "tables")
    main = convert(env, env.write("access", ACCESS), tables)
    anchors = env.write("anchors.pem", "".join(open(env.ca(c)).read() for c in ("ca", "rel", "sub")))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtp_tls_CAfile = %s\n"
                   "smtp_tls_security_level = may\nmynetworks = 127.0.0.1 198.18.0.0/18\nmydestination = local.example\nlocal_recipient_maps =\n"
                   "smtp_tls_loglevel = 1\nminimal_backoff_time = 300s\n%s%s" % (cert, key, anchors, env.ca(), env.dns_params, main))
    out = s.cli("check", check_status=False)
    kit.check(" error" not in out.lower() or "0 errors" in out, "signet check: %s" % out)

    def talk(addr, pair=None, tls=True, rcpt="user@local.example", **kw):
        ctx = ssl.create_default_context(cafile=env.ca())
        ctx.check_hostname = False
        if pair:
            ctx.load_cert_chain(*pair)
        if "ciphers" in kw:
            ctx.maximum_version = ssl.TLSVersion.TLSv1_2
            ctx.set_ciphers(kw["ciphers"])
        with smtplib.SMTP("127.0.0.1", 25, local_hostname="c.test", timeout=25, source_address=(addr, 0)) as c:
            c.ehlo()
            if tls:
                if not c.has_extn("starttls"):
                    return 0, "no STARTTLS"
                c.starttls(context=ctx)
                c.ehlo()
            code, text = c.mail("a@b.example")
            if code == 250:
                code, text = c.rcpt(rcpt)
            return code, text.decode()

    weak = {"ciphers": "ECDHE+AES128"}
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
    for addr, asked in (("198.18.0.77", True), ("198.18.0.41", False)):
        out = kit.sh("sh", "-c", "printf 'QUIT\\r\\n' | timeout 20 openssl s_client -bind %s:0 -starttls smtp -connect 127.0.0.1:25 2>&1" % addr, check_status=False)
        kit.check(("Acceptable client certificate CA names" in out) == asked, "V at %s" % addr)
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

    def send(domain):
        return kit.send(sender="a@b.example", rcpts=("u@" + domain,), starttls=True, context=ssl._create_unverified_context())

    for domain, who, pattern in (("mail.enc.example", enc, r"to=<u@mail\.enc\.example>.* status=deferred \(TLS is required, but was not offered"),
                                 ("verify.example", verify, r"to=<u@verify\.example>.* status=deferred \(Server certificate not verified"),
                                 ("sub.verify.example", verify, r"to=<u@sub\.verify\.example>.* status=deferred \(Server certificate not verified"),
                                 ("named.example", named, r"Verified TLS connection established to mail\.named\.example"),
                                 ("broken.example", broken, r"to=<u@broken\.example>.* status=sent")):
        before = len(who.messages)
        send(domain)
        s.wait_log(pattern)
        kit.check("deferred" not in pattern or len(who.messages) == before, domain)
    kit.check("STARTTLS" not in broken.commands and "STARTTLS" in named.commands, "Try_TLS")
    kit.wait_until("named.example", lambda: named.messages)
    s.stop()
