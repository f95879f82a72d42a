"""Client certificates at the server: who is asked, who must show one, whom we trust, what log and Received say of it."""
import re

import kit
from client_kit import GnuTLS, OpenSSL, Swaks, hello
from tls_kit import USUAL_GROUP

FP = r"[0-9A-F]{2}(:[0-9A-F]{2}){31}"


def run(env):
    kit.need("openssl", "swaks", "gnutls-cli")
    cert, key = env.cert("mx.test")
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"])
    sink = env.sink("127.0.0.2")
    good = env.cert("client.test", eku="clientAuth")
    server_only = env.cert("server.test", eku="serverAuth")
    selfmade = env.cert("selfmade.test", ca=None)
    foreign = env.cert("foreign.test", ca="other")
    mid = env.path("mid.pem")
    env.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "mid.key", "-out", "mid.csr", "-subj", "/CN=Mid")
    ext = env.write("mid.ext", "basicConstraints=critical,CA:TRUE\n")
    env.openssl("x509", "-req", "-in", "mid.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "mid.pem", "-extfile", ext, "-days", "20")
    deep = env.cert("deep.test", ca="mid")
    with open(deep[0], "a") as f:
        f.write(open(mid).read())
    capath = env.path("hashed")
    kit.sh("sh", "-c", "mkdir %s && cp %s %s/ && openssl rehash %s" % (capath, env.ca(), capath, capath))
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in ((2501, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_loglevel=2"]),
                       (2502, ["smtpd_tls_security_level=encrypt", "smtpd_tls_req_ccert=yes", "syslog_name=req"]),
                       (2503, ["smtpd_tls_wrappermode=yes", "smtpd_tls_req_ccert=yes", "syslog_name=wrap"]),
                       (2504, ["smtpd_tls_req_ccert=yes", "syslog_name=lax"]),
                       (2505, ["smtpd_tls_ask_ccert=yes", "tls_trust_server_ccerts=yes"]),
                       (2506, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_ccert_verifydepth=0"]),
                       (2507, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_CAfile=", "smtpd_tls_CApath=%s" % capath]),
                       (2508, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_CAfile="]),
                       (2509, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_loglevel=peercert,untrusted", "smtpd_tls_fingerprint_digest=sha1"]),
                       (2510, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_loglevel=4", "smtpd_tls_trace_size_limit=600", "syslog_name=dump"]),
                       (2511, ["smtpd_tls_ask_ccert=yes", "smtpd_tls_cert_file=none", "smtpd_tls_key_file=", "syslog_name=anon"]),
                       (2512, ["smtpd_tls_always_issue_session_ids=no", "tls_session_ticket_cipher="]),
                       (2513, ["tls_session_ticket_cipher="])):
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o.replace("=", " = ", 1) for o in over))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "smtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\nsmtpd_peername_lookup = no\n" % (cert, key, env.ca()), master)

    def received(port, pair=None):
        """Send one message; the Received header it got."""
        before = len(sink.messages)
        with OpenSSL(port, pair=pair, args=("-cert_chain", mid) if pair is deep else ()) as c:
            c.ehlo()
            kit.check(c.mail("a@b.example", "user@example.com", body="Subject: x\n\nx\n")[0] == 250, "mail at %d" % port)
        kit.wait_until("delivery", lambda: len(sink.messages) > before)
        return re.search(r"Received: from c\.test.*?\r\n(?=\S)", sink.messages[-1]["data"].decode(), re.S).group(0)

    # "client certificates are optional, and the Postfix SMTP server does not request client certificates by default"
    kit.check("(No client certificate requested)\r\n" in received(25, good), "does not request client certificates by default")
    s.wait_log(r"Anonymous TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.3")
    # "Even when client certificates are requested, the remote SMTP client might not send a certificate."
    mark = s.mark()
    kit.check("(Client did not present a certificate)\r\n" in received(2501), "the client might not send a certificate")
    s.wait_log(r"Anonymous TLS connection established from", mark)
    # Trusted: "The remote SMTP client certificate was signed by a CA that the Postfix SMTP server trusts."
    mark = s.mark()
    got = received(2501, good)
    kit.check(re.search(r"\(using TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)\r\n\t key-exchange " + USUAL_GROUP + r" server-signature ECDSA "
                        r"\(prime256v1\) server-digest SHA256\r\n\t client-signature ECDSA \(prime256v1\) client-digest SHA256\)\r\n"
                        r"\t\(Client CN \"client\.test\", Issuer \"Test ca\" \(verified OK\)\)\r\n\tby mx\.test ", got), got)
    s.wait_log(r"Trusted TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\) "
               r"key-exchange " + USUAL_GROUP + r" server-signature ECDSA \(prime256v1\) server-digest SHA256 client-signature ECDSA \(prime256v1\) client-digest SHA256$", mark)
    # log level 2, line by line
    for line in (r"setting up TLS connection from unknown\[127\.0\.0\.1\]$", r"unknown\[127\.0\.0\.1\]: TLS cipher list \"aNULL:.*:!aNULL:!eNULL\"$",
                 r"SSL_accept:before SSL initialization$", r"SSL_accept:SSLv3/TLS read client hello$",
                 r"unknown\[127\.0\.0\.1\]: depth=1 verify=1 subject=/CN=Test ca$", r"unknown\[127\.0\.0\.1\]: depth=0 verify=1 subject=/CN=client\.test$",
                 r"unknown\[127\.0\.0\.1\]: Issuing session ticket, key expiration: \d{10}$", r"\]: subject=/CN=client\.test$", r"\]: issuer=/CN=Test ca$",
                 r"unknown\[127\.0\.0\.1\]: subject_CN=client\.test, issuer=Test ca, cert fingerprint=%s, pkey fingerprint=%s$" % (
                     env.fingerprint(good[0]), env.pubkey_fingerprint(good[0]))):
        s.wait_log(line, mark)
    kit.check(s.has_log(r"initializing the server-side TLS engine"), "level 2 tells of the engine")
    kit.check(not s.has_log(r"\]: 0000 16 03"), "no dump below level 3")
    # a resumed session: "established" all the same, after what level 2 says of it
    for session in ("-sess_out", "-sess_in"):
        mark = s.mark()
        with OpenSSL(2501, pair=good, args=(session, env.path("sess"))) as c:
            kit.check(c.ehlo()[0] == 250, "EHLO brings the ticket along")
    for line in (r"unknown\[127\.0\.0\.1\]: Decrypting session ticket, key expiration: \d{10}$", r"unknown\[127\.0\.0\.1\]: Reusing old session \(RFC 5077 session ticket\)$",
                 r"Trusted TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\) key-exchange %s$" % USUAL_GROUP):
        s.wait_log(line, mark)
    # Untrusted: "presented a certificate, but the Postfix SMTP server was unable to check the issuing CA signature"
    mark = s.mark()
    kit.check('(Client CN "selfmade.test", Issuer "selfmade.test" (not verified))\r\n' in received(2501, selfmade), "not verified")
    s.wait_log(r"Untrusted TLS connection established from", mark)
    kit.check(not s.has_log(r"verification failed", mark), "why is for the feature word untrusted")
    # "The status is never "Verified""
    kit.check(not s.has_log(r"Verified TLS connection established from"), "the status is never Verified")
    # feature words
    mark = s.mark()
    received(2509, foreign)
    s.wait_log(r"certificate verification failed for unknown\[127\.0\.0\.1\]: untrusted issuer /CN=Test other$", mark)
    s.wait_log(r"cert fingerprint=[0-9A-F]{2}(:[0-9A-F]{2}){19}, pkey", mark)
    kit.check(not s.has_log(r"TLS connection established|setting up TLS|SSL_accept:", mark), "peercert,untrusted alone")
    mark = s.mark()
    received(2510, good)
    s.wait_log(r"dump/smtpd\[\d+\]: read \(\d+ bytes\)$", mark)
    s.wait_log(r"dump/smtpd\[\d+\]: 0000 16 03 01", mark)
    s.wait_log(r"the limit is reached; no more of this session is shown", mark)
    kit.check(len(re.findall(r"dump/smtpd\[\d+\]: 00[0-9a-f]{2} ", s.log()[mark:])) < 60, "smtpd_tls_trace_size_limit")
    # purposes, depth, anchors
    for what, port, pair, word in (("a server's certificate is none for clients", 2501, server_only, "not verified"),
                                   ("tls_trust_server_ccerts takes it", 2505, server_only, "verified OK"),
                                   ("... but not one of a foreign authority", 2505, foreign, "not verified"),
                                   ("an intermediate", 2501, deep, "verified OK"),
                                   ("smtpd_tls_ccert_verifydepth = 0 allows none", 2506, deep, "not verified"),
                                   ("smtpd_tls_ccert_verifydepth = 0 allows a root", 2506, good, "verified OK"),
                                   ("smtpd_tls_CApath", 2507, good, "verified OK"),
                                   ("no anchors, no trust", 2508, good, "not verified")):
        got = received(port, pair)
        kit.check("(%s))\r\n" % word in got, "%s: %s" % (what, got))

    # names of authorities are sent from the CAfile only
    def names(port):
        out = hello(port)
        return re.search(r"Acceptable client certificate CA names\n(.*)", out), "No client certificate CA names sent" in out
    kit.check(names(2501)[0] and "Test ca" in names(2501)[0].group(1), "CA names from smtpd_tls_CAfile")
    kit.check(names(2507)[1] and names(2508)[1], "no CA names from smtpd_tls_CApath")
    # required (RFC 3207 section 4.1: 554 to every command but QUIT)
    for pair, why in ((None, "No client certificate presented"), (selfmade, "Client certificate not trusted")):
        mark = s.mark()
        with OpenSSL(2502, pair=pair) as c:
            for verb in ("EHLO c.test", "MAIL FROM:<a@b.example>", "NOOP", "RSET"):
                kit.check(c.say(verb) == (554, "5.7.1 mx.test Error: " + why), "554 to %s" % verb)
            kit.check(c.say("QUIT")[0] == 221, "QUIT is still QUIT")
        s.wait_log(r"req/smtpd\[\d+\]: NOQUEUE: abort: TLS from unknown\[127\.0\.0\.1\]: %s$" % why, mark)
        mark = s.mark()
        with OpenSSL(2503, pair=pair, wrap=True) as c:
            kit.check(c.reply() == (421, "4.7.1 mx.test Error: " + why) and c.ended(), "wrapper mode does not greet without a certificate")
        s.wait_log(r"wrap/smtpd\[\d+\]: NOQUEUE: abort: TLS from unknown\[127\.0\.0\.1\]: %s$" % why, mark)
    s.wait_log(r"req/smtpd\[\d+\]: certificate verification failed for unknown\[127\.0\.0\.1\]: self-signed certificate$")
    kit.check("(verified OK)" in received(2502, good), "who has a trusted certificate may send")
    with OpenSSL(2503, pair=good, wrap=True) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250, "... in wrapper mode, too")
    kit.check(s.has_log(r"warning: Can't require client certs unless TLS is required"), "a requirement without mandatory TLS is told")
    kit.check("(No client certificate requested)" in received(2504, good), "... and has no effect")
    # nothing to sign with: anonymous suites, no certificate request
    s.wait_log(r"warning: client certificates cannot be asked for without a server certificate")
    out = hello(2511, "-tls1_2", "-cipher", "aNULL:@SECLEVEL=0")
    kit.check("no peer certificate available" in out and re.search(r"Cipher is (AECDH|ADH)", out), "anonymous only: %s" % out[-800:])
    # session ids
    for port, want in ((2512, False), (2513, True)):
        out = hello(port, "-tls1_2")
        kit.check((re.search(r"Session-ID: ([0-9A-F]*)", out).group(1) != "") == want, "smtpd_tls_always_issue_session_ids at %d: %s" % (port, out[-1500:]))
    # other clients
    w = Swaks(port=2502, tls=True, pair=good)
    kit.check("TLS started with cipher TLSv1.3" in w.out and w.last()[0] == 250, w.out)
    with GnuTLS(2503, pair=good, wrap=True, ca=env.ca(), priority="NORMAL:-VERS-TLS1.3") as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and "TLS1.2" in c.facts(), "gnutls-cli: %s" % c.facts())
    s.stop()
