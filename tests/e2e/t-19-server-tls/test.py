"""Server TLS by service: may with a stamp in Received, encrypt that insists, wrapper mode, no STARTTLS without a certificate,
plaintext behind STARTTLS thrown away."""
import re
import socket
import ssl

import kit
from client_kit import GnuTLS, OpenSSL, Swaks, hello
from raw_kit import Raw


def run(env):
    cert, key = env.cert("mx.test")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
127.0.0.1:587 inet n - n - - smtpd
 -o syslog_name=signet/submission
 -o smtpd_tls_security_level=encrypt
127.0.0.1:465 inet n - n - - smtpd
 -o { syslog_name = signet/smtps }
 -o smtpd_tls_wrappermode=yes
127.0.0.1:2500 inet n - n - - smtpd
 -o smtpd_tls_security_level=none
127.0.0.1:2501 inet n - n - - smtpd
 -o smtpd_tls_cert_file=
 -o smtpd_tls_key_file=
"""
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_loglevel = 1\n"
                   "smtpd_tls_received_header = yes\n" % (cert, key), master)
    def starttls_in(steps):
        return ["STARTTLS" in text for verb, _, text in steps if verb.startswith("EHLO")]

    kit.check(starttls_in(Swaks(tls=True).steps) == [True, False], "offered once")
    kit.check(starttls_in(Swaks(port=2500).steps) == [False], "level none offers nothing")
    kit.check(starttls_in(Swaks(port=2501).steps) == [False], "without a certificate STARTTLS is not announced (RFC 3207 3)")
    with GnuTLS(2500) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls() == (502, "5.5.1 Error: command not implemented"), "STARTTLS at level none")
    with GnuTLS(587) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>") == (530, "5.7.0 Must issue a STARTTLS command first"), "MAIL in clear")
        kit.check(c.say("STARTTLS now") == (501, "5.5.4 Syntax: STARTTLS"), "STARTTLS with an argument")
        kit.check(c.starttls()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>")[0] == 250, "MAIL inside TLS")
        kit.check(c.say("STARTTLS") == (554, "5.5.1 Error: TLS already active"), "no second STARTTLS")
    kit.check(s.has_log(r"signet/submission/smtpd\[\d+\]: (Anonymous )?TLS connection established from|signet/submission/smtpd\[\d+\]: connect from"), "own syslog_name")
    with OpenSSL(465, wrap=True) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.mail("a@b.example", "user@example.com", body="Subject: wrapped\n\nx\n")[0] == 250, "wrapped")
    kit.wait_until("delivery", lambda: sink.messages)
    got = sink.messages[0]["data"].decode()
    kit.check(re.search(r"\(using TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)\r\n\t key-exchange (x25519|X25519MLKEM768) server-signature ECDSA \(prime256v1\) server-digest SHA256\)", got, re.I), got)
    kit.check("with ESMTPS id" in got, got)
    s.wait_log(r"Anonymous TLS connection established from \S+\[127\.0\.0\.1\]: TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)")
    # a command smuggled in behind STARTTLS must not be executed inside TLS
    ctx = ssl.create_default_context(cafile=env.ca())
    ctx.check_hostname = False
    c = Raw()
    c.reply()
    c.say("EHLO c.test")
    kit.check(c.say(["STARTTLS", "MAIL FROM:<smuggled@evil.example>"])[0].startswith("220 "), "220 to STARTTLS")
    tls = ctx.wrap_socket(c.s)
    tls.settimeout(2)
    try:
        kit.check(tls.recv(100) == b"", "nothing is said that nobody asked for inside TLS")
    except (TimeoutError, socket.timeout):
        pass
    tls.settimeout(20)
    tls.sendall(b"EHLO c.test\r\n")
    said = b""
    while b"\n250 " not in said:
        said += tls.recv(4000)
    tls.sendall(b"RCPT TO:<user@example.com>\r\n")
    said = b"\n"
    while b"\n503" not in said and b"\n250 2.1.5" not in said:
        part = tls.recv(4000)
        if not part:
            break
        said += part
    kit.check(b"\n503 5.5.1" in said, "the smuggled MAIL is forgotten: %r" % said)
    tls.close()
    # openssl and its STARTTLS
    out = hello(25, "-CAfile", env.ca(), "-verify_hostname", "mx.test", "-verify_return_error")
    kit.check("Verify return code: 0 (ok)" in out or "Verification: OK" in out, out)
    s.stop()
