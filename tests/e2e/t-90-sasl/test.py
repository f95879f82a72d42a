"""Logins at a real Dovecot: every mechanism it offers and we can speak, what is announced to whom, refusals and their log lines, passwords nowhere."""
import base64
import hashlib
import hmac
import os
import re
import smtplib
import ssl

import kit
import sasl_kit


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def scram(c, name, user, password):
    """SCRAM (RFC 5802) by hand: smtplib has none. The reply to the last line."""
    bare, nonce = "n=%s,r=clientnonce" % user, "clientnonce"
    code, text = c.docmd("AUTH", "SCRAM-%s %s" % (name.upper(), b64("n,," + bare)))
    kit.check(code == 334, (code, text))
    first = base64.b64decode(text).decode()
    part = dict(p.split("=", 1) for p in first.split(","))
    kit.check(part["r"].startswith(nonce), first)
    hash_name = name.replace("-", "")
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), base64.b64decode(part["s"]), int(part["i"]))
    key = hmac.new(salted, b"Client Key", hash_name).digest()
    final = "c=%s,r=%s" % (b64("n,,"), part["r"])
    message = ",".join((bare, first, final)).encode()
    proof = bytes(a ^ b for a, b in zip(key, hmac.new(hashlib.new(hash_name, key).digest(), message, hash_name).digest()))
    code, text = c.docmd(b64("%s,p=%s" % (final, b64(proof))))
    if code != 334:
        return code, text
    server = hmac.new(hmac.new(salted, b"Server Key", hash_name).digest(), message, hash_name).digest()
    kit.check(base64.b64decode(text) == b"v=" + b64(server).encode(), "the server's proof: %r" % text)
    return c.docmd("")


def digest_md5(c, user, password):
    code, text = c.docmd("AUTH", "DIGEST-MD5")
    kit.check(code == 334, (code, text))
    said = base64.b64decode(text).decode()
    nonce = said.split('nonce="')[1].split('"')[0]
    md5 = lambda b: hashlib.md5(b).digest()
    a1 = md5(("%s::%s" % (user, password)).encode()) + (":%s:cn" % nonce).encode()
    a2 = b"AUTHENTICATE:smtp/mx.test"
    ha = hashlib.md5(("%s:%s:00000001:cn:auth:%s" % (md5(a1).hex(), nonce, md5(a2).hex())).encode()).hexdigest()
    code, text = c.docmd(b64('username="%s",nonce="%s",cnonce="cn",nc=00000001,qop=auth,digest-uri="smtp/mx.test",response=%s,charset=utf-8' % (user, nonce, ha)))
    if code != 334:
        return code, text
    kit.check(base64.b64decode(text).startswith(b"rspauth="), text)
    return c.docmd("")


def run(env):
    cert, key = env.cert("mx.test")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
127.0.0.1:587 inet n - n - - smtpd
 -o smtpd_sasl_auth_enable=yes
 -o smtpd_tls_auth_only=yes
 -o smtpd_sasl_authenticated_header=yes
127.0.0.1:2501 inet n - n - - smtpd
 -o smtpd_sasl_auth_enable=yes
 -o broken_sasl_auth_clients=yes
 -o smtpd_sasl_response_limit=20000
 -o { smtpd_sasl_security_options = noplaintext, noanonymous }
 -o { smtpd_sasl_tls_security_options = noanonymous }
127.0.0.1:2502 inet n - n - - smtpd
 -o smtpd_sasl_auth_enable=yes
 -o { smtpd_sasl_mechanism_filter = !login, !external, static:rest }
 -o smtpd_sasl_exceptions_networks=127.0.0.9
 -o smtpd_client_auth_rate_limit=3
 -o smtpd_client_event_limit_exceptions=
 -o smtpd_sasl_response_limit=2500
127.0.0.1:2503 inet n - n - - smtpd
 -o smtpd_sasl_auth_enable=yes
 -o smtpd_sasl_path=inet:127.0.0.1:12345
 -o smtpd_sasl_service=submission
 -o { smtpd_sasl_security_options = mutual_auth }
"""
    s = env.signet("mx", sasl_kit.PARAMS + "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nmynetworks = 127.0.0.9\n"
                   "smtpd_soft_error_limit = 100\nsmtpd_hard_error_limit = 200\n" % (cert, key), master)
    out = s.cli("check", check_status=False)
    kit.check(re.search(r"master\.cf:\d+: warning: service 127\.0\.0\.1:587: smtpd_sasl_path = private/auth: there is no authentication service: No such file", out), out)
    kit.check(re.search(r"warning: service 127\.0\.0\.1:2502: AUTH takes passwords in clear text \(set smtpd_tls_auth_only", out), out)
    kit.check("2501: AUTH takes" not in out and "587: AUTH takes" not in out and
              "2503: smtpd_sasl_path = inet:127.0.0.1:12345: there is no authentication service: Connection refused" in out, out)
    sasl_kit.setup(env, s)
    kit.check("no authentication service" not in s.cli("check", check_status=False), "signet check with Dovecot")
    ctx = ssl.create_default_context(cafile=env.ca())
    ctx.check_hostname = False

    def session(port, tls=True, source="127.0.0.1"):
        c = smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=20, source_address=(source, 0))
        env.at_end(c.close)
        c.ehlo()
        if tls:
            c.starttls(context=ctx)
            c.ehlo()
        return c

    def mechs(c):
        return set(c.esmtp_features.get("auth", "").split())

    everything = {"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"}
    # what is announced where
    c = session(25)
    kit.check(not mechs(c) and c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret")) == (503, b"5.5.1 Error: authentication not enabled"), "no AUTH on port 25")
    c = session(587, tls=False)
    kit.check(not mechs(c), "smtpd_tls_auth_only announces nothing in clear")
    kit.check(c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret")) == (504, b"5.5.4 Encryption required for requested authentication mechanism"), "and takes nothing")
    c.starttls(context=ctx)
    kit.check(c.docmd("AUTH", "PLAIN =")[0] == 503, "no AUTH before EHLO")
    c.ehlo()
    kit.check(mechs(c) == everything, "all that Dovecot has, but for EXTERNAL and ANONYMOUS: %r" % mechs(c))
    c = session(2501, tls=False)
    kit.check(mechs(c) == {"CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}, "noplaintext in clear: %r" % mechs(c))
    kit.check(b"AUTH=CRAM-MD5" in c.ehlo()[1], "broken_sasl_auth_clients")
    kit.check(c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret")) == (504, b"5.5.4 Error: authentication failed: Invalid authentication mechanism"), "PLAIN is not accepted where it is not announced")
    c = session(2501)
    kit.check("PLAIN" in mechs(c) and b"AUTH=PLAIN" in c.ehlo()[1], "smtpd_sasl_tls_security_options inside TLS")
    kit.check(mechs(session(2502)) == everything - {"LOGIN"}, "smtpd_sasl_mechanism_filter")
    c = session(2502, source="127.0.0.9")
    kit.check(not mechs(c) and c.docmd("AUTH", "PLAIN")[0] == 503, "smtpd_sasl_exceptions_networks")
    c = session(2503)
    kit.check(mechs(c) == {"DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}, "mutual_auth, and Dovecot by TCP: %r" % mechs(c))
    kit.check(scram(c, "sha-1", "joe", "secret")[0] == 235, "SCRAM-SHA-1 by TCP")

    # every mechanism, the right password and a wrong one
    since = s.mark()
    for name in ("PLAIN", "LOGIN", "CRAM-MD5"):
        for password, want in (("wrong", 535), ("secret", 235)):
            c = session(587)
            c.user, c.password = "joe", password
            code, text = c.auth(name, getattr(c, "auth_" + name.lower().replace("-", "_")), initial_response_ok=password == "wrong") if want == 235 else refused(c, name)
            kit.check(code == want, "%s with %s: %r" % (name, password, (code, text)))
            if want == 535:
                kit.check(text == b"5.7.8 Error: authentication failed: (reason unavailable)", text)
    for name in ("sha-1", "sha-256"):
        c = session(587)
        kit.check(scram(c, name, "joe", "wrong")[0] == 535, "SCRAM with a wrong password")
        kit.check(scram(c, name, "joe", "secret") == (235, b"2.7.0 Authentication successful"), "SCRAM-" + name)
    c = session(587)
    kit.check(digest_md5(c, "joe", "wrong")[0] == 535, "DIGEST-MD5 with a wrong password")
    kit.check(digest_md5(c, "joe", "secret")[0] == 235, "DIGEST-MD5")
    for name in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "DIGEST-MD5"):
        s.wait_log(r"warning: unknown\[127\.0\.0\.1\]: SASL %s authentication failed: \(reason unavailable\), sasl_username=joe$" % name, since)
    # bearer tokens go to Dovecot as they are; this one compares them with the password
    for name, form in (("XOAUTH2", "user=joe\1auth=Bearer %s\1\1"), ("OAUTHBEARER", "n,a=joe,\1auth=Bearer %s\1\1")):
        c = session(587)
        code, text = c.docmd("AUTH", name + " " + b64(form % "nothing"))
        if code == 334:
            kit.check(b"status" in base64.b64decode(text), text)
            code, text = c.docmd("")
        kit.check(code == 535, "%s with a token that is no good: %r" % (name, (code, text)))
        kit.check(c.docmd("AUTH", name + " " + b64(form % "secret"))[0] == 235, name)

    # a message of a client that logged in
    c = session(587)
    kit.check(c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret")) == (235, b"2.7.0 Authentication successful"), "with an initial response")
    kit.check(c.docmd("AUTH", "PLAIN") == (503, b"5.5.1 Error: already authenticated"), "once")
    kit.check(c.docmd("MAIL", "FROM:<joe@here.example> AUTH=e+3Dmc2@example.com")[0] == 250, "AUTH= on MAIL")
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 503, "not within a transaction")
    kit.check(c.docmd("RCPT", "TO:<user@example.com>")[0] == 250, "permit_sasl_authenticated")
    code, text = c.data("Subject: x\r\n\r\nx\r\n")
    qid = kit.queue_id("%d %s" % (code, text.decode()))
    s.wait_log(r"%s: client=unknown\[127\.0\.0\.1\], sasl_method=PLAIN, sasl_username=joe, sasl_sender=e=mc2@example\.com$" % qid)
    s.wait_log(r"%s: removed" % qid)
    got = sink.messages[-1]["data"].decode()
    kit.check("(Authenticated sender: joe)" in got and "with ESMTPSA id" in got, got)
    kit.check(re.search(r"\r\n\ttls TLS_[A-Z0-9_]+ group [A-Za-z0-9_-]+; ", got), "the clause of RFC 8314 section 4.3: %s" % got)
    # who did not log in, or did so before STARTTLS, is a stranger
    c = session(587)
    c.docmd("MAIL", "FROM:<joe@here.example>")
    kit.check(c.docmd("RCPT", "TO:<user@example.com>")[0] == 454, "strangers do not relay")
    c = session(2502, tls=False)
    kit.check(c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret"))[0] == 235, "in clear, where it is allowed")
    c.starttls(context=ctx)
    c.ehlo()
    c.docmd("MAIL", "FROM:<joe@here.example>")
    kit.check(c.docmd("RCPT", "TO:<user@example.com>")[0] == 454, "STARTTLS forgets the login (RFC 3207 4.2)")

    # syntax, limits (RFC 4954)
    c = session(587)
    for line, want in (("", 501), ("PLAIN !", 501), ("PLAIN a b", 501), ("PL/IN", 501), ("NOPE", 504), ("EXTERNAL =", 504), ("ANONYMOUS " + b64("x"), 504)):
        kit.check(c.docmd("AUTH", line)[0] == want, "AUTH %s: %d wanted" % (line, want))
    kit.check(c.docmd("AUTH", "LOGIN") == (334, b64("Username:").encode()) and c.docmd("*") == (501, b"5.7.0 Authentication aborted"), "aborted")
    kit.check(c.docmd("AUTH", "PLAIN") == (334, b"") and c.docmd("not base64!")[0] == 501, "bad base64")
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd("A" * 13000)[0] == 500, "too long")
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd("A" * 12288)[0] == 535, "the longest that is taken (RFC 4954 4)")
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd(b64("\0joe\0secret"))[0] == 235, "and the link still works")
    c = session(2501)
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd("A" * 16800)[0] == 500, "longer than Dovecot reads")
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd(b64("\0joe\0secret"))[0] == 235, "and the link still works")
    c = session(2502)
    kit.check(c.docmd("AUTH", "PLAIN")[0] == 334 and c.docmd("A" * 2600)[0] == 500, "smtpd_sasl_response_limit")
    codes = [c.docmd("AUTH", "PLAIN " + b64("\0joe\0wrong")) for _ in range(4)]
    kit.check(codes[-1] == (450, b"4.7.1 Error: too many AUTH commands from 127.0.0.1"), codes)
    s.wait_log(r"warning: AUTH command rate limit exceeded: \d+ from unknown\[127\.0\.0\.1\] for service")
    c = session(2501)
    c.docmd("AUTH", "NOPE")
    c.close()
    s.wait_log(r"disconnect from unknown\[127\.0\.0\.1\] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1|disconnect from unknown\[127\.0\.0\.1\] ehlo=2 starttls=1 auth=0/1")
    # the passwords are nowhere: not in the log, not in the memory of the servers
    # (looked at when the password was what was read last: later commands would cover most of it)
    for mech in ("PLAIN", "LOGIN"):
        c = session(587)
        secret = "only-once-47-for-" + mech
        if mech == "PLAIN":
            line = b64("\0joe\0" + secret)
            kit.check(c.docmd("AUTH", "PLAIN " + line)[0] == 535, "wrong")
        else:
            line = b64(secret)
            kit.check(c.docmd("AUTH", "LOGIN")[0] == 334 and c.docmd(b64("joe"))[0] == 334 and c.docmd(line)[0] == 535, "wrong")
        for pid in s.pids("smtpd"):
            memory = read_memory(pid)
            kit.check(b"smtpd_sasl_path" in memory, "the memory of %d" % pid)
            kit.check(line[12:24].encode() not in memory, "%s: the password stayed in the memory of smtpd" % mech)
    log = "".join(line for line in s.log().splitlines(True) if "/smtpd[" in line or "/cleanup[" in line)
    kit.check("SASL PLAIN authentication failed" in log, "lines of smtpd")
    for secret in ("secret", "wrong", "tiger", b64("secret"), b64("\0joe\0secret"), b64("\0joe\0wrong")):
        kit.check(secret not in log, "%s in the log" % secret)
    s.stop()


def read_memory(pid):
    """What a process can write to: heap, stacks, data."""
    out = []
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            where, rights = line.split()[:2]
            if "w" not in rights or "[v" in line:
                continue
            begin, end = (int(x, 16) for x in where.split("-"))
            if end - begin > 1 << 30:  # the shadow of a sanitizer
                continue
            mem.seek(begin)
            try:
                out.append(mem.read(end - begin))
            except OSError:
                pass
    return b"".join(out)


def refused(c, name):
    """The reply to a wrong password."""
    try:
        return c.auth(name, getattr(c, "auth_" + name.lower().replace("-", "_")))
    except smtplib.SMTPAuthenticationError as e:
        return e.smtp_code, e.smtp_error
