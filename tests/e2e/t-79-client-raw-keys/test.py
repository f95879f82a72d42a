"""Raw public keys (RFC 7250) at the server, shown by openssl, by GnuTLS and by Signet's own client: smtpd_tls_enable_rpk asks for them, access
goes by the fingerprint of the key and by nothing else, and who still hangs on a certificate is told. The server shows its own key to a client
that prefers one. Below OpenSSL 3.2 the start says that the parameter has no effect, and certificates do as ever."""
import re
import ssl
import subprocess

import kit
from policy_kit import PolicyService

CAN = ssl.OPENSSL_VERSION_INFO >= (3, 2)
KEY = r"[0-9A-F]{2}(:[0-9A-F]{2}){31}"


class Client:
    """A session of `openssl s_client` or gnutls-cli behind STARTTLS; `raw` and `server_raw`: what the client is willing to show and to see."""
    def __init__(self, port, pair=None, raw=False, server_raw=False, extra=()):
        argv = ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:%d" % port, "-ign_eof", *extra]
        argv += ["-cert", pair[0], "-key", pair[1]] if pair else []
        argv += ["-enable_client_rpk"] if raw and CAN else []
        argv += ["-enable_server_rpk"] if server_raw and CAN else []
        self.open(argv)
        self.read("250 ")           # the end of the EHLO in clear, printed when the handshake is over

    def open(self, argv):
        self.p = subprocess.Popen(["timeout", "60", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.out = ""

    def read(self, pattern):
        """Up to the line that matches."""
        while True:
            line = self.p.stdout.readline()
            self.out += line
            if not line:
                raise kit.Failed("/%s/ did not come:\n%s" % (pattern, self.out))
            if re.match(pattern, line):
                return line.strip()

    def cmd(self, text):
        self.p.stdin.write(text + "\r\n")
        self.p.stdin.flush()
        return self.read(r"[2-5]\d\d ")

    def quit(self):
        self.cmd("quit")            # a capital Q at the start of a line is for s_client itself
        self.out += self.p.communicate()[0]
        return self.out


class Gnutls(Client):
    def __init__(self, port, priority, files):
        self.open(["gnutls-cli", "--starttls-proto=smtp", "--port", str(port), "--insecure", "--priority", priority, *files, "127.0.0.1"])
        self.read("- Handshake was completed")


def rcpt(c):
    """EHLO to RCPT; the refusal, or the reply to RCPT."""
    c.cmd("ehlo c.test")
    answer = c.cmd("mail from:<a@b.example>")
    if answer.startswith("250 "):
        answer = c.cmd("rcpt to:<u@elsewhere.example>")
    c.cmd("rset")
    c.quit()
    return answer


def check_explain(s, pair, fingerprint):
    def explain(port, file):
        return s.cli("tls", "explain", "--client", "127.0.0.1", "--service", "127.0.0.1:%d" % port, "--cert", file)

    out = explain(2512, pair[0])
    kit.check((", a raw public key will do" in out) == CAN and ("warning: Fragile access policy: match lists the client's certificate" in out) == CAN, out)
    kit.check(bool(re.search(r"^key alone: +refused at MAIL: 454 4\.7\.0 .*raw public key %s is not listed" % fingerprint, out, re.M)) == CAN, out)
    out = explain(2502, pair[0])
    kit.check(re.search(r"permit_tls_clientcerts permits$", out, re.M), out)
    kit.check(bool(re.search(r"warning: Fragile access policy: permit_tls_clientcerts", out)) == CAN, out)
    public = s.env.write("public.pem", kit.sh("openssl", "x509", "-in", pair[0], "-noout", "-pubkey"))
    out = explain(2511, public)
    kit.check(re.search(r"^raw key: +Untrusted.*\n +key %s$" % fingerprint, out, re.M), out)
    kit.check(re.search(r"^with TLS: +accepted\n.*\n.*\n +- fingerprint: key %s$" % fingerprint, out, re.M) if CAN else "need OpenSSL 3.2" in out, out)
    out = explain(2513, public)
    kit.check("not asked for, so never shown: " in out and "no client certificate was presented" in out, out)
    out = explain(2509, public)
    kit.check("never shown: %s" % ("smtpd_tls_enable_rpk = no" if CAN else "raw public keys need") in out, out)


def run(env):
    kit.need("openssl", "gnutls-cli")
    cert, key = env.cert("mx.test")
    good, selfmade = env.cert("client.test"), env.cert("selfmade.test", ca=None)
    rsa, edward = env.cert("rsa.test", key="rsa"), (env.path("ed.pem"), env.path("ed.key"))
    env.openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", edward[1], "-out", edward[0], "-subj", "/CN=ed.test", "-days", "20")
    pairs = {"good": good, "selfmade": selfmade, "rsa": rsa, "ed": edward}
    fp = {n: env.fingerprint(p[0]) for n, p in pairs.items()}
    pk = {n: env.pubkey_fingerprint(p[0]) for n, p in pairs.items()}
    files = {"by_cert": "%s x\n" % fp["good"], "by_key": "".join("%s x\n" % pk[n] for n in pairs if n != "selfmade"),
             "both": "%s OK\n%s ok\n" % (fp["good"], pk["good"]), "differ": "%s REJECT\n%s OK\n" % (fp["good"], pk["good"]),
             "key": "%s REJECT no more of this one\n" % pk["good"]}
    d = env.path("mx", "etc")
    tls = "smtpd_tls_policy_maps = inline:{ { 127.0.0.1 = %s } }"
    services = {
        2501: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_key" % d],
        2502: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_cert" % d],
        2503: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/both, reject" % d],
        2504: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/differ, reject" % d],
        2505: ["smtpd_relay_restrictions = check_ccert_access { texthash:%s/differ { search_order = pubkey_fingerprint, cert_fingerprint } }, reject" % d],
        2506: ["smtpd_relay_restrictions = check_ccert_access texthash:%s/key, reject" % d],
        2507: ["smtpd_relay_restrictions = permit_tls_all_clientcerts, reject", "relay_clientcerts ="],
        2508: ["smtpd_relay_restrictions = check_ccert_access { inline:{ { client.test = OK } } { search_order = subject_cn, san_dns } }, reject"],
        2509: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_key" % d, "smtpd_tls_enable_rpk = no"],
        2510: ["smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_key" % d, "smtpd_tls_ask_ccert = no"],
        2511: [tls % ("fingerprint match=" + pk["good"]), "smtpd_relay_restrictions = permit_mynetworks, reject"],
        2512: [tls % ("fingerprint match=" + fp["good"]), "smtpd_relay_restrictions = permit_mynetworks, reject"],
        2513: [tls % "verify match=client.test", "smtpd_relay_restrictions = permit_mynetworks, reject"],
        2514: ["smtpd_tls_security_level = encrypt", "smtpd_tls_req_ccert = yes", "smtpd_relay_restrictions = permit_mynetworks, reject"],
        2515: ["smtpd_relay_restrictions = check_sender_access inline:{ { b.example = tls_require { verify match=client.test } } }, permit_mynetworks, reject"],
        2516: ["smtpd_tls_loglevel = peercert,summary", "smtpd_tls_received_header = yes", "smtpd_relay_restrictions = check_policy_service inet:127.0.0.1:10031, permit_mynetworks, reject"],
        2517: ["smtpd_tls_protocols = <=TLSv1.2", "smtpd_relay_restrictions = permit_tls_clientcerts, reject", "relay_clientcerts = texthash:%s/by_key" % d],
    }
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in services.items():
        over = over + ["syslog_name = p%d" % port]
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o for o in over))
    main = ("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtpd_tls_ask_ccert = yes\n"
            "smtpd_tls_enable_rpk = yes\nsmtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\n"
            "transport_maps = inline:{ { elsewhere.example = smtp:[127.0.0.2] } }\n" % (cert, key, env.ca()))
    asked = PolicyService(env, 10031, lambda attrs: "DUNNO")
    s = env.signet("mx", main, master, files)

    told = s.has_log(r"service \S+: smtpd_tls_enable_rpk: raw public keys need OpenSSL 3\.2 or later, this is OpenSSL 3\.[01]\S* .*: clients show certificates as ever$")
    kit.check(bool(told) == (not CAN), "what the start says: %s" % s.log()[-3000:])

    def fragile(port, since):
        return re.findall(r"p%d/smtpd.*warning: .*Fragile access policy.*" % port, s.log()[since:])

    def row(what, port, who, raw, code, text="", warns=False, **kw):
        """One session to RCPT; the summary line of the log."""
        since = s.mark()
        got = rcpt(Client(port, pairs[who], raw, **kw))
        s.wait_log(r"p%d/smtpd.*disconnect from " % port, since)    # the log is in order of time: this was all
        kit.check(got.startswith(str(code)) and text in got, "%s: %s\n%s" % (what, got, s.log()[since:]))
        kit.check(bool(fragile(port, since)) == (warns and CAN), "%s: warned of a fragile policy?\n%s" % (what, s.log()[since:]))
        log = s.wait_log(r"p%d/smtpd.*TLS connection established from .*" % port, since).group()
        return log

    # --- certificates, whatever is asked for besides
    row("a certificate whose key is listed", 2501, "good", False, 250)
    row("a certificate that is listed, its key is not", 2502, "good", False, 250, warns=True)
    row("check_ccert_access says the same of both", 2503, "good", False, 250)
    row("check_ccert_access: the certificate's action counts", 2504, "good", False, 554, "Client certificate rejected", warns=True)
    row("with the key first there is nothing to warn of", 2505, "good", False, 250)
    row("a trusted certificate", 2507, "good", False, 250)
    row("its name", 2508, "good", False, 250, warns=True)
    row("listed by certificate in the client's entry", 2512, "good", False, 250, warns=True)
    row("a required certificate", 2514, "good", False, 250)
    check_explain(s, good, pk["good"])
    out = s.cli("check", check_status=False)
    for port, text in ((2507, "permit_tls_all_clientcerts permits no client that shows its key"), (2510, "no client is asked for a certificate, so none shows a key"),
                       (2514, "it has no effect where smtpd_tls_req_ccert demands a certificate")):
        text = text if CAN else "it has no effect: this OpenSSL knows no raw public keys"
        kit.check(re.search(r"service 127\.0\.0\.1:%d: smtpd_tls_enable_rpk: %s" % (port, text), out), "%d: %s" % (port, out))
    if not CAN:
        s.stop()
        return

    # --- keys
    log = row("a listed key", 2501, "good", True, 250)
    kit.check(re.search(r": Untrusted TLS connection established .* client-signature ECDSA \(prime256v1 raw public key\) client-digest SHA256$", log), log)
    log = row("of another kind", 2501, "rsa", True, 250)
    kit.check("client-signature RSA-PSS (2048 bit raw public key)" in log, log)
    log = row("and another", 2501, "ed", True, 250)
    kit.check(log.endswith("client-signature ED25519 (raw public key)"), log)
    row("a key that is not listed", 2501, "selfmade", True, 554, "Access denied")
    row("a certificate's fingerprint does not match a key", 2502, "good", True, 554, "Access denied")
    row("check_ccert_access by key", 2503, "good", True, 250)
    row("which has an entry of its own", 2504, "good", True, 250)
    row("and may be refused, by its fingerprint", 2506, "good", True, 554, "<%s>: Client certificate rejected: no more of this one" % pk["good"])
    row("no trust comes from a key", 2507, "good", True, 554, "Access denied")
    row("nor a name", 2508, "good", True, 554, "Access denied")
    log = row("where no key is asked for the client shows its certificate", 2509, "good", True, 250)
    kit.check("client-signature ECDSA (prime256v1)" in log, log)
    log = row("and nothing where nothing is asked for", 2510, "good", True, 554, "Access denied")
    kit.check("Anonymous" in log and "client-signature" not in log, log)
    row("the client's entry, by key", 2511, "good", True, 250)
    row("by certificate only: a key cannot match", 2512, "good", True, 454, "raw public key")
    log = row("an entry with names asks for no key", 2513, "good", True, 250)
    kit.check("Trusted" in log, log)
    log = row("nor does who must have a trusted certificate", 2514, "good", True, 250)
    kit.check("Trusted" in log, log)
    s.wait_log(r"warning: smtpd_tls_enable_rpk has no effect where smtpd_tls_req_ccert demands a certificate that is trusted")
    row("what is demanded of a sender", 2515, "good", True, 454, "raw public key")
    log = row("TLS 1.2 has them too", 2517, "good", True, 250)
    kit.check("TLSv1.2" in log, log)
    s.wait_log(r"p2512/smtpd.*raw public key %s is not listed; .*\(smtpd_tls_policy_maps, " % pk["good"])

    # --- what log, Received and a policy service say, of Signet's own client
    sink = env.sink("127.0.0.2")
    mta = env.signet("mta", "smtp_tls_security_level = encrypt\nsmtp_tls_loglevel = 1\nsmtp_tls_chain_files = %s, %s\nrelayhost = [127.0.0.1]:2516\n" % good[::-1],
                     kit.MASTER_CF.format(smtp="127.0.0.1:2599"))
    since = s.mark()
    kit.send(port=2599, rcpts="u@elsewhere.example")
    kit.wait_until("delivery", lambda: sink.messages)
    text = sink.messages[0]["data"].decode().replace("\r\n", "\n")
    kit.check("(Client RPK sha256 digest %s)\n" % pk["good"] in text, text)
    kit.check(re.search(r"\n\t client-signature ECDSA \(prime256v1 raw public key\) client-digest SHA256\)\n", text), text)
    s.wait_log(r"p2516/smtpd.* unknown\[127\.0\.0\.1\]: raw public key fingerprint=%s$" % pk["good"], since)
    kit.check("subject_CN" not in s.log()[since:], "a key has no names")
    attrs = dict(asked.requests[-1])
    kit.check(attrs["ccert_pubkey_fingerprint"] == pk["good"] and not attrs["ccert_fingerprint"] + attrs["ccert_subject"] + attrs["ccert_issuer"], attrs)
    mta.wait_log(r"Untrusted TLS connection established to 127\.0\.0\.1.*server-signature ECDSA \(prime256v1\) .*client-signature ECDSA \(prime256v1 raw public key\)")
    mta.stop()

    # --- the server's own key, for who wants it; always the key of the chain that it would have shown
    log = row("the server shows its key", 2509, "good", False, 250, server_raw=True)
    kit.check("server-signature ECDSA (prime256v1 raw public key)" in log, log)
    seen = Client(2509, server_raw=True).quit()
    whose = kit.sh("sh", "-c", "openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -noout -text" % cert)
    points = [re.sub(r"\s", "", re.search(r"pub:((?:\s+[0-9a-f:]+)+)\n", t).group(1)) for t in (seen, whose)]
    kit.check(points[0] == points[1] and "Server-to-client raw public key negotiated" in seen, "whose key? %s\n%s" % (whose, seen))

    # --- GnuTLS
    public, private = env.write("good.pub", kit.sh("openssl", "x509", "-in", good[0], "-noout", "-pubkey")), good[1]
    for what, types, keys in (("keys only", "-CTYPE-ALL:+CTYPE-RAWPK", True), ("keys before certificates", "-CTYPE-ALL:+CTYPE-RAWPK:+CTYPE-X509", True),
                              ("certificates, of which it has none, before keys", "+CTYPE-RAWPK", False)):
        since = s.mark()
        got = rcpt(Gnutls(2501, "NORMAL:" + types, ["--rawpkkeyfile", private, "--rawpkfile", public]))
        log = s.wait_log(r"p2501/smtpd.*TLS connection established from .*", since).group()
        kit.check(got.startswith("250 " if keys else "554 "), "GnuTLS, %s: %s\n%s" % (what, got, log))
        kit.check(all((side + "-signature ECDSA (prime256v1 raw public key)" in log) == keys for side in ("client", "server")), "GnuTLS, %s: %s" % (what, log))

    # --- a session resumed has the key, but not where keys are not asked for any more
    session = env.path("session")
    row("a session begins", 2501, "good", True, 250, extra=["-sess_out", session])
    c = Client(2501, good, True, extra=["-sess_in", session, "-sess_out", session])
    kit.check(rcpt(c).startswith("250 ") and "Reused, TLSv1.3" in c.out, "resumed: %s" % c.out)
    s.set(main_cf=main.replace("smtpd_tls_enable_rpk = yes", "smtpd_tls_enable_rpk = no"))
    s.reload()
    kit.wait_until("the new processes", lambda: "raw public key" not in row("a certificate", 2501, "good", True, 250))
    c = Client(2501, good, True, extra=["-sess_in", session])
    kit.check(rcpt(c).startswith("250 ") and "New, TLSv1.3" in c.out, "not resumed: %s" % c.out)
    kit.check(not re.search(r"panic|fatal", s.log()), "nobody died")
    s.stop()
