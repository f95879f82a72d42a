"""The submission entry of the forward secrecy guide as it is printed there, with a real Dovecot behind it: swaks, openssl s_client,
smtplib; the smtps entry beside it (wrapper mode); EXTERNAL
by client certificate (smtplib, gnutls-cli)."""
import base64
import os
import re
import smtplib
import ssl
import subprocess

import kit
import sasl_kit

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
""" % (env.ca("people"), env.ca("people")), start=False)
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
    c = sasl_kit.smtplib.SMTP("127.0.0.1", 587, timeout=20)
    c.ehlo()
    kit.check(c.docmd("AUTH", "PLAIN " + b64("\0joe\0secret")) == (530, b"5.7.0 Must issue a STARTTLS command first"), "AUTH before STARTTLS")
    c.close()
    status, text = swaks("--port", "587", "--tls")
    kit.check(status != 0 and "454 4.7.1 <user@example.com>: Relay access denied" in text, text)
    # by hand, as people look at it
    for argv in (["-starttls", "smtp", "-connect", "127.0.0.1:587"], ["-connect", "127.0.0.1:465"]):
        p = subprocess.Popen(["openssl", "s_client", "-quiet", "-crlf", "-CAfile", env.ca(), "-verify_hostname", "mx.test", "-verify_return_error", *argv],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line, wanted in (("EHLO laptop.example", r"250-AUTH .*PLAIN"), ("AUTH PLAIN " + b64("\0joe\0secret"), r"235 2\.7\.0 Authentication successful"),
                             ("MAIL FROM:<joe@here.example>", r"250 2\.1\.0 Ok"), ("rcpt TO:<user@example.com>", r"250 2\.1\.5 Ok"), ("quit", r"221 ")):
            p.stdin.write(line + "\n")
            p.stdin.flush()
            said = "\n"
            while not re.match(wanted, said):
                said = p.stdout.readline()
                kit.check(said and not re.match("[45]", said), "%s: %s answered by %r" % (argv, line.split()[0], said))
        p.stdin.close()
        p.wait(20)
        p.stdout.close()
    external(env, s, sink)
    s.stop()


def external(env, s, sink):
    """Who shows a certificate of our authority may log in with nothing else, where the filter says so."""
    kit.need("gnutls-cli")
    out = s.cli("check", check_status=False)
    kit.check("service 127.0.0.1:2589: with AUTH EXTERNAL, any public authority" in out and "2587: with AUTH EXTERNAL" not in out and "2588: with AUTH EXTERNAL" not in out, out)
    certs = {"trusted": env.cert("laptop.example", ca="people", cn="cert-user"), "stranger": env.cert("other.example", ca="people", cn="nobody-knows"),
             "self-signed": env.cert("laptop2.example", ca=None, cn="cert-user"), "another authority": env.cert("laptop3.example", cn="cert-user")}

    def session(port, who):
        ctx = ssl.create_default_context(cafile=env.ca())
        ctx.check_hostname = False
        if who:
            ctx.load_cert_chain(*certs[who])
        c = smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.example", timeout=20)
        env.at_end(c.close)
        c.ehlo()
        c.starttls(context=ctx)
        c.ehlo()
        return c

    for port, who, offered in ((2587, "trusted", True), (2587, "stranger", True), (2587, None, False), (2587, "self-signed", False),
                               (2587, "another authority", False), (2588, "trusted", False)):
        c = session(port, who)
        kit.check(("EXTERNAL" in c.esmtp_features["auth"].split()) == offered, "port %d, %s: %s" % (port, who, c.esmtp_features["auth"]))
        if not offered:
            kit.check(c.docmd("AUTH", "EXTERNAL " + b64("cert-user")) == (504, b"5.5.4 Error: authentication failed: Invalid authentication mechanism"), "%s: not accepted either" % who)
    kit.check(session(2587, "stranger").docmd("AUTH", "EXTERNAL =")[0] == 535, "a certificate of somebody without an account")
    c = session(2587, "trusted")
    kit.check(c.docmd("AUTH", "EXTERNAL " + b64("joe"))[0] == 535, "not as somebody else")
    kit.check(c.docmd("AUTH", "EXTERNAL") == (334, b"") and c.docmd("")[0] == 235, "the name is that of the certificate")
    c = session(2587, "trusted")
    kit.check(c.docmd("AUTH", "EXTERNAL =")[0] == 235, "with an empty initial response")
    kit.check(c.docmd("MAIL", "FROM:<cert@here.example>")[0] == 250 and c.docmd("RCPT", "TO:<user@example.com>")[0] == 250, "and may relay")
    code, text = c.data("Subject: x\r\n\r\nx\r\n")
    s.wait_log(r"%s: client=unknown\[127\.0\.0\.1\], sasl_method=EXTERNAL, sasl_username=cert-user$" % kit.queue_id("%d %s" % (code, text.decode())))

    # the same with another TLS library
    p = subprocess.Popen(["gnutls-cli", "--starttls-proto=smtp", "--port=2587", "--x509cafile=" + env.ca(), "--verify-hostname=mx.test",
                          "--x509certfile=" + certs["trusted"][0], "--x509keyfile=" + certs["trusted"][1], "127.0.0.1"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line, wanted in (("EHLO laptop.example", r"250-AUTH .*EXTERNAL"), ("AUTH EXTERNAL =", r"235 2\.7\.0 Authentication successful"), ("QUIT", r"221 ")):
        said = "\n"
        if line.startswith("EHLO"):
            while "Handshake was completed" not in said:
                said = p.stdout.readline()
                kit.check(said, "gnutls-cli ends before the handshake does")
        p.stdin.write(line + "\r\n")
        p.stdin.flush()
        while not re.match(wanted, said):
            said = p.stdout.readline()
            kit.check(said and not re.match("[45]", said), "gnutls-cli: %s answered by %r" % (line, said))
    p.stdin.close()
    p.wait(20)
    p.stdout.close()
