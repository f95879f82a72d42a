"""What the two guides state about the server and no other test has by name: the log line and the two Received forms with real client
names, the quick start and its submission entry as printed, who needs a certificate and who only may show one, levels and where they
end, and what `signet check` says of settings that do not do what they seem to."""
import re

import kit
from client_kit import GnuTLS, Gone, OpenSSL, Swaks, hello


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

    def received(port, pair=None, version=None):
        before = len(sink.messages)
        with OpenSSL(port, source="198.18.0.9", pair=pair, args=(version, "-cipher", "DEFAULT:@SECLEVEL=0") if version else ()) as c:
            c.ehlo("host.example.com")
            kit.check(c.mail("a@b.example", "user@example.com", body="Subject: x\n\nx\n")[0] == 250, "mail at %d" % port)
        kit.wait_until("delivery", lambda: len(sink.messages) > before)
        return re.search(r"Received: from host\.example\.com.*?\r\n(?=\S)", sink.messages[-1]["data"].decode(), re.S).group(0)

    def statement(what, got, pattern):
        kit.check(re.search(pattern, got), "%s: %s" % (what, got))

    # "The general logfile format is: ... Anonymous TLS connection established from host.example.com[192.168.0.2]: TLSv1 with cipher
    #  cipher-name (actual-key-size/raw-key-size bits)"; "the Postfix SMTP server will record TLS connection information in the Received: header"
    for version, name in (("-tls1", "TLSv1"), ("-tls1_2", "TLSv1.2")):
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
    with OpenSSL(2502) as c:
        kit.check(c.ehlo()[0] == 554, "with smtpd_tls_req_ccert all clients need certificates")
    statement("with smtpd_tls_req_ccert a client with a certificate", received(2502, good), r"verified OK")
    statement("with smtpd_tls_ask_ccert they are optional", received(2501), r"\(Client did not present a certificate\)")
    # the quick start and the submission entry as printed
    out = hello(25, "-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384")
    statement("smtpd_tls_dh1024_param_file = ${config_directory}/dh2048.pem", out, r"(Server|Peer) Temp Key: DH, 2048 bits")
    out = hello(587, "-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0")
    statement("the submission entry of the guide: 1024-bit EDH for its clients", out, r"(Server|Peer) Temp Key: DH, 1024 bits")
    # "Exim SMTP clients require a >= 2048-bit length": with GnuTLS, which they use, that is the profile MEDIUM
    edh = "NORMAL:%PROFILE_MEDIUM:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA"
    with GnuTLS(25, ca=env.ca(), priority=edh) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls()[0] == 220 and c.ehlo()[0] == 250, "2048 bits are enough for GnuTLS")
    with GnuTLS(587, ca=env.ca(), priority=edh) as c:
        c.reply()
        c.ehlo()
        try:
            c.starttls()
            raise AssertionError("GnuTLS took 1024 bits")
        except Gone:
            kit.check(re.search(r"prime.*not (long enough|acceptable)", c.facts()), c.facts())
    with GnuTLS(587, ca=env.ca()) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.starttls()[0] == 220 and c.ehlo()[0] == 250, "gnutls-cli completes STARTTLS on submission")
    kit.check(Swaks(port=587).last() == (530, "5.7.0 Must issue a STARTTLS command first"), "the submission entry demands TLS")
    # levels
    s.wait_log(r"level/smtpd\[\d+\]: warning: service \S+: smtpd_tls_security_level: .*using encrypt")
    for port, code in ((2503, 530), (2506, 250), (2507, 530)):
        with GnuTLS(port) as c:
            kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.offers("STARTTLS") and c.say("MAIL FROM:<a@b.example>")[0] == code, "level of port %d" % port)
            if code == 530:
                kit.check([c.say(v)[0] for v in ("NOOP", "HELP", "RSET", "AUTH PLAIN", "VRFY x")] == [250, 214, 530, 530, 530], "what is open before STARTTLS")
    with GnuTLS(2504) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and not c.offers("STARTTLS") and c.starttls()[0] == 502, "STARTTLS in smtpd_discard_ehlo_keywords")
    with GnuTLS(2509) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and not c.offers("STARTTLS"), "a certificate that cannot be read: not announced")
        kit.check(c.starttls() == (454, "4.7.0 TLS not available due to local problem"), "... and answered 454")
    try:
        OpenSSL(2508, wrap=True)
        raise AssertionError("wrapper mode without an engine")
    except Gone:
        pass
    s.wait_log(r"broken/smtpd\[\d+\]: warning: Wrapper-mode request dropped from \S+\[127\.0\.0\.1\] for service \S*2508\. TLS context initialization failed")
    # after STARTTLS the client is back behind the greeting (RFC 3207 section 4.2)
    for port, code in ((25, 250), (2505, 503)):
        with OpenSSL(port, name="before.example") as c:         # its EHLO comes before STARTTLS, and none behind it
            kit.check(c.say("MAIL FROM:<a@b.example>")[0] == code, "MAIL without a new EHLO at %d" % port)
            if code == 250:
                before = len(sink.messages)
                kit.check(c.say("RCPT TO:<user@example.com>")[0] == 250 and c.say("DATA")[0] == 354 and c.say("Subject: y\r\n\r\ny\r\n.")[0] == 250, "mail")
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
