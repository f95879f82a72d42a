"""What the two guides state about the server and no other test has by name: the log line and the two Received forms with real client
names, the quick start and its submission entry as printed, who needs a certificate and who only may show one, levels and where they
end, and what `signet check` says of settings that do not do what they seem to."""
import re
import smtplib
import ssl

import kit


def run(env):
    kit.need("openssl", "swaks", "gnutls-cli")
    cert, key = env.cert("mx.test", key="rsa")
    good = env.cert("host.example.com", eku="clientAuth")
    doe = env.cert("host.example.com", ca="doe")
    nasty = env.cert("nasty.test", cn='a(b)c) \\ "x" \N{LATIN SMALL LETTER E WITH ACUTE}', ca=None)
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2", "host.example.com. A 198.18.0.9",
             "9.0.18.198.in-addr.arpa. PTR host.example.com."])
    sink = env.sink("127.0.0.2")
    kit.sh("ip", "addr", "add", "198.18.0.9/32", "dev", "lo")      # in the test's own namespace
    d = env.path("mx", "etc")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25") + """\
submission inet n       -       n       -       -       smtpd
    # Some submission clients may not yet do 2048-bit EDH, if such
    # clients use your MSA, configure 1024-bit EDH instead:
    -o smtpd_tls_dh1024_param_file=${config_directory}/dh1024.pem
    -o smtpd_tls_security_level=encrypt
    -o inet_interfaces=127.0.0.1
"""
    for port, over in ((2501, ["smtpd_tls_ask_ccert = yes"]),
                       (2502, ["smtpd_tls_security_level = encrypt", "smtpd_tls_req_ccert = yes"]),
                       (2503, ["smtpd_tls_security_level = Verify", "syslog_name = level"]),
                       (2504, ["smtpd_discard_ehlo_keywords = starttls, silent-discard"]),
                       (2505, ["smtpd_helo_required = yes"]),
                       (2506, ["smtpd_tls_security_level =", "smtpd_use_tls = yes"]),
                       (2507, ["smtpd_tls_security_level =", "smtpd_enforce_tls = yes"]),
                       (2508, ["smtpd_tls_security_level = encrypt", "smtpd_tls_wrappermode = yes", "smtpd_tls_cert_file = /nonexistent", "syslog_name = broken"]),
                       (2509, ["smtpd_tls_security_level = may", "smtpd_tls_cert_file = /nonexistent"])):
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "dh_rfc5114:1", "-out", "dh1024.pem")
    env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "dh2048.pem")
    env.openssl("dhparam", "-out", "dh512.pem", "512")
    files = {n: open(env.path(n)).read() for n in ("dh512.pem", "dh1024.pem", "dh2048.pem")}
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "smtpd_tls_dh1024_param_file = ${config_directory}/dh2048.pem\nsmtpd_tls_dh512_param_file = ${config_directory}/dh512.pem\n"
                   "smtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\nmydestination = mx.test\nmynetworks = 127.0.0.0/8 198.18.0.9\n" % (cert, key, env.ca()), master, files)

    def context(pair=None, version=None):
        ctx = ssl.create_default_context(cafile=env.ca())
        ctx.check_hostname = False
        if pair:
            ctx.load_cert_chain(*pair)
        if version:
            ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
            ctx.minimum_version = ctx.maximum_version = version
        return ctx

    def received(port, pair=None, version=None):
        before = len(sink.messages)
        with smtplib.SMTP("127.0.0.1", port, local_hostname="host.example.com", source_address=("198.18.0.9", 0), timeout=20) as c:
            c.starttls(context=context(pair, version))
            c.sendmail("a@b.example", ["user@example.com"], "Subject: x\n\nx\n")
        kit.wait_until("delivery", lambda: len(sink.messages) > before)
        return re.search(r"Received: from host\.example\.com.*?\r\n(?=\S)", sink.messages[-1]["data"].decode(), re.S).group(0)

    def statement(what, got, pattern):
        kit.check(re.search(pattern, got), "%s: %s" % (what, got))

    # "The general logfile format is: ... Anonymous TLS connection established from host.example.com[192.168.0.2]: TLSv1 with cipher
    #  cipher-name (actual-key-size/raw-key-size bits)"; "the Postfix SMTP server will record TLS connection information in the Received: header"
    for version, name in ((ssl.TLSVersion.TLSv1, "TLSv1"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
        mark = s.mark()
        got = received(25, None, version)
        s.wait_log(r"smtpd\[\d+\]: Anonymous TLS connection established from host\.example\.com\[198\.18\.0\.9\]: %s with cipher ECDHE-RSA-[A-Z0-9-]+ \((256/256|128/128) bits\)$" % re.escape(name), mark)
        statement("Received with smtpd_tls_ask_ccert = no", got, r"^Received: from host\.example\.com \(host\.example\.com \[198\.18\.0\.9\]\)\r\n"
                  r"\t\(using %s with cipher ECDHE-RSA-[A-Z0-9-]+ \(\d+/\d+ bits\)\)\r\n\t\(No client certificate requested\)\r\n\tby mx\.test \(\w+\) with ESMTPS id " % re.escape(name))
        got = received(2501, doe, version)
        statement("Received with smtpd_tls_ask_ccert = yes", got, r"\t\(using %s with cipher ECDHE-RSA-[A-Z0-9-]+ \(\d+/\d+ bits\)\)\r\n"
                  r"\t\(Client CN \"host\.example\.com\", Issuer \"Test doe\" \(not verified\)\)\r\n" % re.escape(name))
    # "the Postfix SMTP server never verifies the remote SMTP client name against the names in the client certificate"
    mark = s.mark()
    statement("the client name is never verified", received(2501, good), r"\(verified OK\)")
    s.wait_log(r"Trusted TLS connection established from host\.example\.com", mark)
    # text of the peer's cannot break the header
    statement("names from outside are made harmless", received(2501, nasty), r'\t\(Client CN "a\(b\)c\?? [^\r\n]*\? [^\r\n]*"[^\r\n]*\(not verified\)\)\r\n')
    # "With the latter [req_ccert] all clients need certificates, with the former [ask_ccert] they are optional"
    with smtplib.SMTP("127.0.0.1", 2502, timeout=20) as c:
        c.starttls(context=context())
        kit.check(c.docmd("EHLO c.test")[0] == 554, "with smtpd_tls_req_ccert all clients need certificates")
    statement("with smtpd_tls_req_ccert a client with a certificate", received(2502, good), r"verified OK")
    statement("with smtpd_tls_ask_ccert they are optional", received(2501), r"\(Client did not present a certificate\)")
    # the quick start and the submission entry as printed
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -starttls smtp -connect 127.0.0.1:25 -tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384 2>&1", check_status=False)
    statement("smtpd_tls_dh1024_param_file = ${config_directory}/dh2048.pem", out, r"(Server|Peer) Temp Key: DH, 2048 bits")
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -starttls smtp -connect 127.0.0.1:587 -tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0 2>&1", check_status=False)
    statement("the submission entry of the guide: 1024-bit EDH for its clients", out, r"(Server|Peer) Temp Key: DH, 1024 bits")
    out = kit.sh("sh", "-c", "(sleep 0.5; printf 'EHLO c\\r\\n'; sleep 0.3; printf 'QUIT\\r\\n'; sleep 0.3) | timeout 10 gnutls-cli --starttls-proto=smtp --port 587 "
                 "--x509cafile %s --verify-hostname mx.test --crlf 127.0.0.1" % env.ca(), check_status=False)
    statement("gnutls-cli completes STARTTLS on submission", out, r"Handshake was completed")
    out = kit.sh("swaks", "--server", "127.0.0.1", "--port", "587", "--from", "a@b.example", "--to", "user@example.com", "--quit-after", "RCPT", check_status=False)
    statement("the submission entry demands TLS", out, r"530 5\.7\.0 Must issue a STARTTLS command first")
    # levels
    s.wait_log(r"level/smtpd\[\d+\]: warning: smtpd_tls_security_level: .*using encrypt")
    for port, code in ((2503, 530), (2506, 250), (2507, 530)):
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as c:
            kit.check("starttls" in c.ehlo()[1].decode().lower() and c.docmd("MAIL FROM:<a@b.example>")[0] == code, "level of port %d" % port)
            if code == 530:
                kit.check([c.docmd(v)[0] for v in ("NOOP", "HELP", "RSET", "AUTH PLAIN", "VRFY x")] == [250, 214, 530, 530, 530], "what is open before STARTTLS")
    with smtplib.SMTP("127.0.0.1", 2504, timeout=20) as c:
        kit.check("starttls" not in c.ehlo()[1].decode().lower() and c.docmd("STARTTLS")[0] == 502, "STARTTLS in smtpd_discard_ehlo_keywords")
    with smtplib.SMTP("127.0.0.1", 2509, timeout=20) as c:
        kit.check("starttls" not in c.ehlo()[1].decode().lower(), "a certificate that cannot be read: not announced")
        kit.check(c.docmd("STARTTLS") == (454, b"4.7.0 TLS not available due to local problem"), "... and answered 454")
    try:
        smtplib.SMTP_SSL("127.0.0.1", 2508, context=context(), timeout=20)
        raise kit.Failed("wrapper mode without an engine")
    except (OSError, smtplib.SMTPException):
        pass
    s.wait_log(r"broken/smtpd\[\d+\]: warning: Wrapper-mode request dropped from \S+\[127\.0\.0\.1\] for service \S*2508\. TLS context initialization failed")
    # after STARTTLS the client is back behind the greeting (RFC 3207 section 4.2)
    for port, code in ((25, 250), (2505, 503)):
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as c:
            c.ehlo("before.example")
            kit.check(c.docmd("STARTTLS")[0] == 220, "STARTTLS")
            c.sock = context().wrap_socket(c.sock)
            c.file = None
            kit.check(c.docmd("MAIL FROM:<a@b.example>")[0] == code, "MAIL without a new EHLO at %d" % port)
            if code == 250:
                c.docmd("RCPT TO:<user@example.com>")
                before = len(sink.messages)
                c.docmd("DATA")
                c.send("Subject: y\r\n\r\ny\r\n.\r\n")
                kit.check(c.getreply()[0] == 250, "DATA")
                kit.wait_until("delivery", lambda: len(sink.messages) > before)
                got = sink.messages[-1]["data"].decode()
                kit.check("before.example" not in got and "with ESMTPS" not in got, "what was learned before is discarded: %s" % got)
    kit.check(not s.has_log(r"Verified TLS connection established from"), "the status is never Verified")
    s.stop()
    # settings that do not do what they seem to
    s.set("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_req_ccert = yes\nsmtpd_tls_eecdh_grade = strong\n"
          "tls_eecdh_strong_curve = P-256 curve9\nsmtpd_tls_dh1024_param_file = %s/dh1024.pem\nsmtpd_tls_dh512_param_file = x\n"
          "smtpd_recipient_restrictions = permit_tls_clientcerts, check_ccert_access { inline:{{a=OK}} { search_order = san_dns } }, reject\n" % (cert, key, d),
          kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:smtp inet n - n - - smtpd\n -o smtpd_tls_security_level=encrypt\n")
    out = s.cli("check", check_status=False)
    for line in (r"smtpd_tls_req_ccert: it has no effect where TLS is optional", r"smtpd_tls_req_ccert: no certification authority is trusted",
                 r"no client is asked for a certificate, so check_ccert_access never decides", r"relay_clientcerts: it is empty",
                 r"dh1024\.pem: 1024 bits are weak", r'no curve "curve9"', r"smtpd_tls_dh512_param_file: this has no effect",
                 r"demands TLS on port 25"):
        statement("signet check", out, line)
    s.set(master_cf=kit.MASTER_CF.format(smtp="127.0.0.1:25") + " -o smtpd_tls_security_level=dane\n")
    out = s.cli("check", check_status=False)
    statement("level dane is for clients", out, r"error: .*smtpd_tls_security_level")
