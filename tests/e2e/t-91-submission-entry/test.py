"""The submission entry of the forward secrecy guide as it is printed there, with a real Dovecot behind it: swaks, openssl s_client,
gnutls-cli; the smtps entry beside it (wrapper mode); EXTERNAL by client certificate; a certificate and a login together, and either."""
import base64
import os
import re
import subprocess

import kit
import sasl_kit
from client_kit import GnuTLS, OpenSSL, Swaks

ENTRY = """\
submission inet n - n - - smtpd
# Some submission clients may not yet do 2048-bit EDH, if such
# clients use your MSA, configure 1024-bit EDH instead:
-o smtpd_tls_dh1024_param_file=${config_directory}/dh1024.pem
-o smtpd_tls_security_level=encrypt
-o smtpd_sasl_auth_enable=yes
"""


def b64(text):
    return base64.b64encode(text.encode()).decode()


def run(env):
    kit.need("swaks", "openssl")
    cert, key = env.cert("mx.test", key="rsa")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    certs = {"trusted": env.cert("laptop.example", ca="people", cn="cert-user"), "stranger": env.cert("other.example", ca="people", cn="nobody-knows"),
             "self-signed": env.cert("laptop2.example", ca=None, cn="cert-user"), "another authority": env.cert("laptop3.example", cn="cert-user")}
    digest = env.fingerprint(certs["trusted"][0])
    both = env.write("both", "%s permit_sasl_authenticated, reject\n" % digest)
    bound = env.write("bound", "%s check_sasl_access inline:{ { joe = OK } }, reject\n" % digest)
    listed = env.write("listed", "%s laptop\n" % digest)
    s = env.signet("mx", sasl_kit.PARAMS + "inet_interfaces = loopback-only\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nmynetworks =\nsmtpd_tls_loglevel = 1\n" % (cert, key),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + re.sub("^-o", "  -o", ENTRY, flags=re.M) + """\
smtps inet n - n - - smtpd
  -o syslog_name=signet/smtps
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:2587 inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_ask_ccert=yes
  -o smtpd_tls_CAfile=%s
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_mechanism_filter=static:all
127.0.0.1:2588 inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_ask_ccert=yes
  -o smtpd_tls_CAfile=%s
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:2589 inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_ask_ccert=yes
  -o tls_append_default_CA=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_mechanism_filter=plain,external
""" % (env.ca("people"), env.ca("people")) + "".join("""\
127.0.0.1:%d inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_ask_ccert=yes
  -o smtpd_sasl_auth_enable=yes
  -o relay_clientcerts=texthash:%s
  -o { smtpd_relay_restrictions = %s, reject }
""" % (port, listed, rule) for port, rule in ((2590, "check_ccert_access texthash:" + both), (2591, "permit_tls_clientcerts, permit_sasl_authenticated"),
                                              (2592, "check_ccert_access texthash:" + bound),
                                              (2593, "tls_require { fingerprint match=%s }, permit_sasl_authenticated" % digest))), start=False)
    # the guide's own way to make the file; 1024 bits are below what openssl takes for granted today
    kit.sh("openssl", "dhparam", "-dsaparam", "-out", os.path.join(s.conf, "dh1024.pem"), "1024")
    s.start()
    sasl_kit.setup(env, s)

    def swaks(*argv):
        r = subprocess.run(["swaks", "--server", "127.0.0.1", "--from", "joe@here.example", "--to", "user@example.com", "--ehlo", "laptop.example", *argv],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return r.returncode, r.stdout

    # every mechanism of the client, by STARTTLS on 587 and wrapped on 465
    for port in (["--port", "587", "--tls"], ["--port", "465", "--tls-on-connect"]):
        for mech in ("PLAIN", "LOGIN", "CRAM-MD5"):
            count, since = len(sink.messages), s.mark()
            status, text = swaks(*port, "--auth", mech, "--auth-user", "ann@here.example", "--auth-password", "tiger")
            kit.check(status == 0, text)
            s.wait_log(r"client=unknown\[127\.0\.0\.1\], sasl_method=%s, sasl_username=ann@here\.example$" % mech, since)
            kit.wait_until("delivery", lambda: len(sink.messages) == count + 1)
            kit.check("with ESMTPSA id" in sink.messages[-1]["data"].decode() and "Authenticated sender" not in sink.messages[-1]["data"].decode(), "ESMTPSA, and no login in the header by default")
            since = s.mark()
            status, text = swaks(*port, "--auth", mech, "--auth-user", "ann@here.example", "--auth-password", "lion")
            kit.check(status == 28 and "535 5.7.8 Error: authentication failed" in text, text)
            s.wait_log(r"warning: unknown\[127\.0\.0\.1\]: SASL %s authentication failed: \(reason unavailable\), sasl_username=ann@here\.example$" % mech, since)

    # in clear there is nothing to log in with, and no mail; and strangers stay strangers
    status, text = swaks("--port", "587", "--auth", "PLAIN", "--auth-user", "joe", "--auth-password", "secret")
    kit.check(status == 28 and " AUTH " not in text, "not announced in clear: %s" % text)
    with GnuTLS(587) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and not c.offers("AUTH"), "EHLO in clear")
        kit.check(c.say("AUTH PLAIN " + b64("\0joe\0secret")) == (530, "5.7.0 Must issue a STARTTLS command first"), "AUTH before STARTTLS")
    status, text = swaks("--port", "587", "--tls")
    kit.check(status != 0 and "454 4.7.1 <user@example.com>: Relay access denied" in text, text)
    # by hand, as people look at it
    for port in (587, 465):
        with OpenSSL(port, wrap=port == 465, args=("-CAfile", env.ca(), "-verify_hostname", "mx.test", "-verify_return_error")) as c:
            kit.check(port == 587 or c.reply()[0] == 220, "the greeting")
            kit.check(c.ehlo("laptop.example")[0] == 250 and c.offers("AUTH"), "AUTH inside TLS")
            kit.check(c.say("AUTH PLAIN " + b64("\0joe\0secret")) == (235, "2.7.0 Authentication successful"), "AUTH")
            kit.check(c.mail("joe@here.example", "user@example.com")[0] == 250, "and may relay")
    external(env, s, certs)
    s.stop()


def external(env, s, certs):
    """Who shows a certificate of our authority may log in with nothing else, where the filter says so."""
    kit.need("gnutls-cli")
    out = s.cli("check", check_status=False)
    kit.check("service 127.0.0.1:2589: with AUTH EXTERNAL, any public authority" in out and "2587: with AUTH EXTERNAL" not in out and "2588: with AUTH EXTERNAL" not in out, out)

    def session(port, who):
        c = OpenSSL(port, pair=certs.get(who), name="laptop.example")
        env.at_end(c.close)
        c.ehlo("laptop.example")
        return c

    def mechs(c):
        return [f for f in c.features if f.startswith("AUTH ")][0].split()[1:]

    for port, who, offered in ((2587, "trusted", True), (2587, "stranger", True), (2587, None, False), (2587, "self-signed", False),
                               (2587, "another authority", False), (2588, "trusted", False)):
        c = session(port, who)
        kit.check(("EXTERNAL" in mechs(c)) == offered, "port %d, %s: %s" % (port, who, mechs(c)))
        if not offered:
            kit.check(c.say("AUTH EXTERNAL " + b64("cert-user")) == (504, "5.5.4 Error: authentication failed: Invalid authentication mechanism"), "%s: not accepted either" % who)
    kit.check(session(2587, "stranger").say("AUTH EXTERNAL =")[0] == 535, "a certificate of somebody without an account")
    c = session(2587, "trusted")
    kit.check(c.say("AUTH EXTERNAL " + b64("joe"))[0] == 535, "not as somebody else")
    kit.check(c.say("AUTH EXTERNAL") == (334, "") and c.say("")[0] == 235, "the name is that of the certificate")
    c = session(2587, "trusted")
    kit.check(c.say("AUTH EXTERNAL =")[0] == 235, "with an empty initial response")
    got = c.mail("cert@here.example", "user@example.com", body="Subject: x\n\nx\n")
    s.wait_log(r"%s: client=unknown\[127\.0\.0\.1\], sasl_method=EXTERNAL, sasl_username=cert-user$" % kit.queue_id(got[1]))

    # the same with another TLS library
    with GnuTLS(2587, pair=certs["trusted"], ca=env.ca()) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo("laptop.example")[0] == 250 and c.starttls()[0] == 220 and c.ehlo("laptop.example")[0] == 250, "gnutls-cli")
        kit.check("EXTERNAL" in mechs(c) and c.say("AUTH EXTERNAL =")[0] == 235, "gnutls-cli: EXTERNAL")
    together(env, s, certs)


def together(env, s, certs):
    """The thread: "use client certs instead of (or in combination with) SASL". The certificate where it is listed AND a login; either of
    them; a certificate of one machine bound to one login."""
    def rcpt(port, who, user=None, password=None):
        with OpenSSL(port, pair=certs.get(who), name="laptop.example") as c:
            c.ehlo("laptop.example")
            if user:
                got = c.say("AUTH PLAIN " + b64("\0%s\0%s" % (user, password or {"joe": "secret", "ann@here.example": "tiger"}[user])))
                kit.check(got[0] == (535 if password else 235), got)
            return c.mail("joe@here.example", "user@example.com")[0]

    # 2590, 2593: both. 2591: either. 2592: this certificate is for joe alone.
    for port, who, user, want in ((2590, "trusted", "joe", 250), (2590, "trusted", None, 554), (2590, None, "joe", 554), (2590, "stranger", "joe", 554), (2590, None, None, 554),
                                  (2591, "trusted", None, 250), (2591, None, "joe", 250), (2591, "stranger", None, 554), (2591, None, None, 554),
                                  (2592, "trusted", "joe", 250), (2592, "trusted", "ann@here.example", 554), (2592, None, "joe", 554),
                                  (2593, "trusted", "joe", 250), (2593, "trusted", None, 554), (2593, None, "joe", 454), (2593, "stranger", "joe", 454)):
        kit.check(rcpt(port, who, user) == want, "port %d: %s, login %s: wanted %d" % (port, who, user, want))
    kit.check(rcpt(2590, "trusted", "joe", "wrong") == 554, "a wrong password is no login")
    w = Swaks("--auth", "PLAIN", "--auth-user", "joe", "--auth-password", "secret", port=2590, tls=True, pair=certs["trusted"], sender="joe@here.example", rcpt="user@example.com")
    kit.check(w.last()[0] == 250, w.out)
    w = Swaks("--auth", "PLAIN", "--auth-user", "joe", "--auth-password", "secret", port=2590, tls=True, sender="joe@here.example", rcpt="user@example.com")
    kit.check(w.last()[0] == 554, w.out)
