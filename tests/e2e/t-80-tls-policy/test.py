"""smtpd_tls_policy_maps: what each client must show, by its confirmed name, address or network, or by the server name that it asks for;
refusals are replies."""
import os
import re
import signal

import kit
from client_kit import GnuTLS, Gone, OpenSSL, Swaks, hello


def ptr(addr, name, forward=True):
    rev = ".".join(reversed(addr.split("."))) + ".in-addr.arpa."
    return ["%s PTR %s." % (rev, name)] + (["%s. A %s" % (name, addr)] if forward else [])


def run(env):
    kit.need("openssl", "swaks", "gnutls-cli")
    # names of 127.0.0.0/8 are not looked up in DNS (RFC 6303)
    for net in ("198.18.0.0/24", "198.18.1.0/24"):
        kit.sh("ip", "route", "add", "local", net, "dev", "lo")
    cert, key = env.cert("mx.test")
    partner = env.cert("mx.partner.example")
    other = env.cert("other.example")
    foreign = env.cert("mx.partner.example", ca="other")
    alt = env.cert("alt.test")
    names = {"san": env.cert("whoever", sans=["mx.partner.example"]), "cn": env.cert("mx.partner.example", sans=[]),
             "cn beside san": env.cert("mx.partner.example", sans=["other.example"]), "wildcard": env.cert("whoever", sans=["*.partner.example"]),
             "more": env.cert("whoever", sans=["email:joe@partner.example", "IP:192.0.2.7", "URI:https://partner.example/mta"])}
    rows = (ptr("198.18.0.11", "mx.partner.example") + ptr("198.18.0.12", "mx.partner.example", False) +
            ptr("198.18.0.13", "a.sub.weak.example") + ptr("198.18.0.22", "x.none.example"))
    # zones that nsd cannot read are SERVFAIL
    env.dns(["example.com. MX 10 mx.example.com.", "mx.example.com. A 127.0.0.2"] + rows,
            {"21.0.18.198.in-addr.arpa.": ["no record"], "23.0.18.198.in-addr.arpa.": ["no record"]})
    issuers = env.write("mx/etc/issuers", "/CN=Test+20ca OK\n/CN=Test+20other NO\n")
    table = env.write("policy", "\n".join([
        "# one line each",
        "mx.partner.example verify match=hostname action=5xx",
        ".weak.example encrypt bits=256",
        ".none.example none",
        "198.18.0.14 none",
        "198.18.1 encrypt",
        "198.18.0.15 secure",
        "198.18.0.16 fingerprint match=%s|%s" % (env.pubkey_fingerprint(foreign[0]), env.fingerprint(other[0])),
        "198.18.0.17 may ask_ccert=no",
        "198.18.0.18 may protocols=TLSv1.2 exclude=AES256",
        "198.18.0.19 verify issuer_maps=texthash:%s" % issuers,
        "198.18.0.20 verify { subject = CN=mx.partner.example } issuer=/CN=Test+20ca bits=128",
        "198.18.0.23 may",
        "198.18.0.24 verify issuer_maps=texthash:%s.missing action=5xx" % issuers,
        "198.18.0.25 may chain=alt.test",
        "198.18.0.26 may chain=nobody.test",
        "198.18.0.31 verify match_email=joe@partner.example action=450",
        "198.18.0.32 verify match_ip=192.0.2.7",
        "198.18.0.33 verify match_uri=https://partner.example/mta",
        "198.18.0.34 verify match=mx.partner.example action=550",
        "* may",
    ]) + "\n")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in ((2501, ["smtpd_tls_policy_maps=fail:broken", "syslog_name=broken"]),
                       (2502, ["smtpd_tls_security_level=none", "smtpd_tls_policy_maps=inline:{ {198.18.0.11=encrypt} }"]),
                       (2503, ["smtpd_tls_security_level=encrypt", "smtpd_tls_req_ccert=yes", "smtpd_tls_policy_maps=inline:{ {198.18.0.11=may} }"]),
                       (2504, ["smtpd_tls_wrappermode=yes"]),
                       (2506, ["smtpd_tls_policy_maps=inline:{ {127.0.0.1=encrypt} }"]),
                       (2508, ["smtpd_tls_policy_maps=cidr:{ {198.18.0.0/28 encrypt} }, inline:{ {198.18.0.17=may} {*=may ciphers=high} }", "tls_high_cipherlist=AES256"]),
                       (2509, [r"smtpd_tls_policy_maps=regexp:{ {/^mx\.partner\.example$$/ verify} {/^198\.18\.0\./ encrypt} {/^198\.18\.0$$/ none} {/^\.?example$$/ none} {/^sni=/ none} {/./ may} }"]),
                       (2507, ["smtpd_tls_policy_maps=inline:{ {127.0.0.1=none} }"]),
                       (2505, ["smtpd_tls_cert_file=", "smtpd_tls_key_file=", "smtpd_tls_policy_maps=inline:{ { 198.18.0.11 = encrypt action=5xx } }"])):
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s }\n" % o.replace("=", " = ", 1) for o in over))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\n"
                   "smtpd_tls_ask_ccert = yes\nsmtpd_tls_received_header = yes\nmynetworks = 127.0.0.0/8\ndisable_vrfy_command = no\n"
                   "smtpd_tls_policy_maps = texthash:%s\ntls_server_sni_maps = inline:{ { alt.test = %s %s } }\n%s" % (
                       cert, key, env.ca(), table, alt[1], alt[0], env.dns_params), master)

    usable = (("NOOP", 250), ("HELP", 214), ("EHLO c.test", 250), ("RSET", 250))

    def mail(addr, pair=None, tls=True, port=25, args=()):
        """The reply to MAIL; afterwards the session must still live."""
        if not tls:
            return Swaks(port=port, source=addr, until="MAIL").last()
        with OpenSSL(port, source=addr, pair=pair, args=args) as c:
            c.ehlo()
            got = c.say("MAIL FROM:<a@b.example>")
            kit.check([c.say(line)[0] for line, _ in usable] == [code for _, code in usable], "still usable")
            return got

    def passes(addr, *a, **kw):
        got = mail(addr, *a, **kw)
        kit.check(got[0] == 250, "%s: %s" % (addr, got))

    def refused(addr, code, words, log, *a, **kw):
        mark = s.mark()
        got = mail(addr, *a, **kw)
        dsn = "%d.7.0" % (code // 100)
        kit.check(got[0] == code and re.match(re.escape(dsn) + r" <[^>]*\[%s\]>: Client host rejected: %s" % (re.escape(addr), words), got[1]),
                  "%s: %s" % (addr, got))
        kit.check(issuers not in got[1] and table not in got[1], "a reply that tells of our files: %s" % (got,))
        s.wait_log(r"NOQUEUE: reject: MAIL from \S+\[%s\]: %d %s <[^>]*>: Client host rejected: %s" % (re.escape(addr), code, dsn, log), mark)
        return mark

    # verify with the client's own name; 5xx as the entry says; where the entry stands
    where = r" \(smtpd_tls_policy_maps, %s:2\); from=<a@b\.example> proto=ESMTP helo=<c\.test>$" % re.escape(table)
    refused("198.18.0.11", 554, "encryption required: issue STARTTLS first$", "encryption required: the session is in clear text" + where, tls=False)
    mark = refused("198.18.0.11", 554, "authentication required: no client certificate was presented$", "authentication required: no client.*" + where)
    s.wait_log(r"NOQUEUE: reject: STARTTLS from mx\.partner\.example\[198\.18\.0\.11\]: 554 5\.7\.0 .*no client certificate was presented.*; proto=", mark)
    refused("198.18.0.11", 554, "authentication failed: the client certificate is not trusted$", r"authentication failed: .*untrusted issuer /CN=Test other" + where, foreign)
    refused("198.18.0.11", 554, "authentication failed: the client certificate is for another name$",
            r"authentication failed: the client certificate has other\.example, wanted mx\.partner\.example" + where, other)
    passes("198.18.0.11", partner)
    # the scarlet letter: who has not got the name does not get the entry
    passes("198.18.0.12", tls=False)
    passes("198.18.0.9", tls=False)
    # names of certificates (RFC 9525): subjectAltName counts, the CN only where there is no dNSName
    for what, code in (("san", 250), ("cn", 250), ("wildcard", 250), ("cn beside san", 554), ("more", 554)):
        got = mail("198.18.0.11", names[what])
        kit.check(got[0] == code, "%s: %s" % (what, got))
    for addr, code in (("198.18.0.31", 450), ("198.18.0.32", 454), ("198.18.0.33", 454), ("198.18.0.34", 550)):
        good, bad = (names["san"], names["more"]) if code == 550 else (names["more"], names["san"])
        passes(addr, good)
        refused(addr, code, "authentication failed: the client certificate is for another name$", "authentication failed: the client certificate " +
                {"31": "does not have the mail address joe@partner", "32": r"does not have the address 192\.0\.2\.7", "33": "does not have the URI https://partner",
                 "34": r"has 192\.0\.2\.7, wanted mx\.partner\.example"}[addr[-2:]], bad)
    # a parent; strength
    refused("198.18.0.13", 454, "encryption required", "encryption required", tls=False)
    refused("198.18.0.13", 454, "encryption too weak 128 less than 256$", "encryption too weak 128 less than 256", args=("-tls1_2", "-cipher", "ECDHE+AES128"))
    passes("198.18.0.13")
    # none: STARTTLS is neither announced nor known
    for addr in ("198.18.0.14", "198.18.0.22"):
        w = Swaks(source=addr, until="MAIL")
        kit.check("STARTTLS" not in w.steps[1][2] and w.last()[0] == 250, "none for %s: %s" % (addr, w.out))
    # networks
    refused("198.18.1.77", 454, "encryption required", "encryption required", tls=False)
    passes("198.18.1.77")
    # networks of a cidr table; patterns see the name and the address, and no parts of them
    refused("198.18.0.9", 454, "encryption required", "encryption required", tls=False, port=2508)
    passes("198.18.0.16", tls=False, port=2508)
    for addr, suite in (("198.18.0.17", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("198.18.0.16", "(NONE)")):
        kit.check("Cipher is " + suite in hello(2508, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", source=addr), "ciphers=high for %s" % addr)
    refused("198.18.0.11", 454, "authentication required", "authentication required", port=2509)
    passes("198.18.0.11", partner, port=2509)
    refused("198.18.0.9", 454, "encryption required", "encryption required", tls=False, port=2509)
    passes("198.18.0.9", port=2509)
    passes("198.18.1.9", tls=False, port=2509)
    # everything that does something is refused, before and after STARTTLS
    with GnuTLS(2506) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and c.offers("STARTTLS"), "STARTTLS is there")
        kit.check([c.say(line)[0] for line in ("MAIL FROM:<a@b.example>", "VRFY <x@example.com>", "ETRN example.com", "RCPT TO:<x@example.com>")] == [454, 454, 454, 503], "in clear")
        kit.check([c.say(line)[0] for line, _ in usable] == [code for _, code in usable], "usable in clear")
        kit.check(c.starttls()[0] == 220 and c.ehlo()[0] == 250 and c.say("MAIL FROM:<a@b.example>")[0] == 250, "and behind STARTTLS in the same session")
    with GnuTLS(2507) as c:
        kit.check(c.reply()[0] == 220 and c.ehlo()[0] == 250 and not c.offers("STARTTLS") and c.starttls()[0] == 502, "none: STARTTLS is not known")
    # a value that makes no sense, a table that fails: 454, never accept
    refused("198.18.0.15", 454, "TLS policy is temporarily not available$", r"\"secure\" is not one of .*%s:7\)" % re.escape(table), partner)
    s.wait_log(r"warning: smtpd_tls_policy_maps: %s:7: \"secure\" is not one of none, may, encrypt, verify, fingerprint; \S+\[198\.18\.0\.15\] gets 454" % re.escape(table))
    for tls in (False, True):
        got = mail("198.18.0.11", partner, tls, 2501)
        kit.check(got[0] == 454 and "temporarily" in got[1], got)
    # fingerprints: a key, a certificate; the chain does not matter
    passes("198.18.0.16", foreign)
    passes("198.18.0.16", other)
    refused("198.18.0.16", 454, "authentication failed", "authentication failed: neither certificate [0-9A-F:]+ nor key [0-9A-F:]+ is listed", partner)
    # ask_ccert, protocols, ciphers before the handshake
    def sclient(addr, *args):
        return hello(25, *args, source=addr).replace("CN = ", "CN=")
    kit.check("Acceptable client certificate CA names\nCN=Test ca" in sclient("198.18.0.9") and "Acceptable client" not in sclient("198.18.0.17"), "ask_ccert=no")
    kit.check("New, TLSv1.3" in sclient("198.18.0.9"), "TLS 1.3")
    out = sclient("198.18.0.18")
    kit.check("New, TLSv1.2" in out and ("AES128" in out or "CHACHA20" in out) and "AES256" not in re.search(r"Cipher is (.*)", out).group(1), out[-800:])
    kit.check("alert handshake failure" in sclient("198.18.0.18", "-tls1_2", "-cipher", "AES256") and "Cipher is (NONE)" in sclient("198.18.0.18", "-tls1_3"), "excluded")
    # a chain that the client did not ask for by name
    kit.check("subject=CN=alt.test" in sclient("198.18.0.25") and "subject=CN=alt.test" in sclient("198.18.0.25", "-servername", "mx.test") and
              "subject=CN=mx.test" in sclient("198.18.0.9"), "chain=alt.test")
    kit.check("no peer certificate" in sclient("198.18.0.26"), "a chain that nobody has")
    s.wait_log(r"SSL_accept error from \S+\[198\.18\.0\.26\]: no chain for nobody\.test in tls_server_sni_maps$")
    # a session made under the rules of one client is not resumed under those of another
    session = env.path("session.pem")
    out = sclient("198.18.0.17", "-tls1_2", "-sess_out", session)
    kit.check("New, TLSv1.2" in out and "Reused" in sclient("198.18.0.17", "-tls1_2", "-sess_in", session), "resumption under the same rules")
    for addr in ("198.18.0.9", "198.18.0.18", "198.18.0.20"):
        kit.check("Reused" not in sclient(addr, "-tls1_2", "-sess_in", session), "resumed across rules at %s" % addr)
    # issuers, subjects
    passes("198.18.0.19", partner)
    refused("198.18.0.19", 454, "authentication failed: the client certificate is not trusted", "authentication failed", foreign)
    refused("198.18.0.24", 454, "authentication failed: temporary lookup failure$", "issuer_maps: .*missing", partner)
    passes("198.18.0.20", partner)
    refused("198.18.0.20", 454, "authentication failed: the client certificate is not the one expected$",
            r"authentication failed: the subject of the client certificate is \"/CN=other\.example\", wanted \"CN=mx\.partner\.example\"", other)
    # DNS that cannot say who it is: 454 unless the address decides
    refused("198.18.0.21", 454, "TLS policy is temporarily not available$", "the client's name cannot be looked up for now", partner)
    passes("198.18.0.23", tls=False)
    # at a service without TLS only who has an entry gets it; an entry beats a service that demands
    w = Swaks(port=2502, source="198.18.0.9", until="MAIL")
    kit.check("STARTTLS" not in w.steps[1][2] and w.last()[0] == 250, "level none: %s" % w.out)
    passes("198.18.0.11", port=2502)
    refused("198.18.0.11", 454, "encryption required", "encryption required", tls=False, port=2502)
    passes("198.18.0.11", tls=False, port=2503)
    passes("198.18.0.11", port=2503)
    kit.check(mail("198.18.0.9", tls=False, port=2503)[0] == 530, "the service's level for the others")
    # wrapper mode
    for pair, code in ((None, 554), (partner, 250)):
        with OpenSSL(2504, source="198.18.0.11", pair=pair, wrap=True) as c:
            kit.check([c.reply()[0], c.ehlo()[0], c.say("MAIL FROM:<a@b.example>")[0], c.say("QUIT")[0]] == [220, 250, code, 221], "wrapper mode with %s" % (pair,))
    # our own fault is temporary
    refused("198.18.0.11", 454, "encryption required, and TLS is not available here for now$", "encryption required, and this server cannot do TLS now", tls=False, port=2505)
    # another client program
    got = Swaks(source="198.18.0.11", tls=True, until="MAIL").last()
    kit.check(got[0] == 554 and "no client certificate was presented" in got[1], got)
    s.stop()
    by_server_name(env, (cert, key), partner, alt)
    broken(env, (cert, key))


BY_SNI = """\
198.18.0.11 may
sni=partner.test verify match=mx.partner.example action=5xx
sni=weak.test may protocols=TLSv1.2
sni=chain.test encrypt chain=alt.test
sni=none.test none
sni=typo.test encript
* encrypt ask_ccert=no
"""


def by_server_name(env, pair, partner, alt):
    """sni=NAME: behind name and address, before "*". By a table that is read here (port 25) and by one that another process serves."""
    first = env.cert("first.test")
    table, chained = env.write("by_sni", BY_SNI), env.write("chained", BY_SNI[:-1] + " chain=first.test\n")
    chains = "inline:{ { alt.test = %s %s } { first.test = %s %s } }" % (alt[1], alt[0], first[1], first[0])
    s = env.signet("sni", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_CAfile = %s\nsmtpd_tls_loglevel = 1\n"
                   "smtpd_peername_lookup = no\nsmtpd_tls_policy_maps = texthash:%s\n" % (*pair, env.ca(), table), kit.MASTER_CF.format(smtp="127.0.0.1:25") +
                   "".join("127.0.0.1:%d inet n - n - - smtpd -o { %s }\n" % (port, " } -o { ".join(over)) for port, over in (
                       (2501, ["smtpd_tls_policy_maps = lmdb:" + chained, "tls_server_sni_maps = " + chains]),
                       (2502, ["smtpd_tls_policy_maps = texthash:" + chained, "tls_server_sni_maps = " + chains]), (2503, ["smtpd_tls_wrappermode = yes", "smtpd_tls_policy_maps = lmdb:" + table]),
                       (2504, ["smtpd_authorized_xclient_hosts = 127.0.0.0/8"]),
                       (2505, ["smtpd_tls_policy_maps = lmdb:" + table, "smtpd_starttls_timeout = 1"]))), start=False)
    for path in (table, chained):
        s.cli("map", "build", "lmdb:" + path)
    s.start()

    def mail(name, port=25, who=None, source="198.18.0.9", args=()):
        """The reply to MAIL, whether a certificate was asked for, and what s_client tells."""
        with OpenSSL(port, source=source, pair=who, wrap=port == 2503, args=(*(("-servername", name) if name else ("-noservername",)), "-msg", *args)) as c:
            kit.check(port != 2503 or c.reply()[0] == 220, "the greeting")
            c.ehlo()
            return c.say("MAIL FROM:<a@b.example>"), "CertificateRequest" in c.facts(), c.facts()

    for port in (25, 2501, 2502, 2503):
        usual = "first" if port in (2501, 2502) else "mx"       # the chain of "*"
        for name in (None, "other.test"):
            got, asked, facts = mail(name, port)
            kit.check(got[0] == 250 and not asked and re.search(r"Peer certificate: CN ?= ?%s\.test" % usual, facts), "%s, no entry: %s %s" % (name, got, facts))
        if usual == "first":
            got, asked, facts = mail("chain.test", port)
            kit.check(got[0] == 250 and re.search(r"Peer certificate: CN ?= ?alt\.test", facts), "chain= behind a server name: %s %s" % (got, facts))
        got, asked, facts = mail("Partner.test", port)
        kit.check(got[0] == 554 and "no client certificate was presented" in got[1] and asked, "by server name, without a certificate: %s" % (got,))
        got, asked, facts = mail("partner.test", port, partner)
        # no answer to the name's chain: what the entry of "*" had set is gone
        kit.check(got[0] == 250 and asked and re.search(r"Peer certificate: CN ?= ?mx\.test", facts), "with it: %s %s" % (got, facts))
        got, asked, facts = mail("weak.test", port)
        kit.check(got[0] == 250 and not asked and "Protocol version: TLSv1.2" in facts, "protocols behind a server name: %s %s" % (got, facts))
        got, asked, facts = mail("partner.test", port, source="198.18.0.11")
        kit.check(got[0] == 250 and "TLSv1.3" in facts, "the address decides first: %s %s" % (got, facts))
        for name, said in (("none.test", "has begun TLS already"), ("typo.test", '\\"encript\\" is not one of|"encript" is not one of')):
            mark = s.mark()
            got, asked, facts = mail(name, port)
            kit.check(got[0] == 454 and "temporarily" in got[1], "%s: %s" % (name, got))
            s.wait_log(r"warning: smtpd_tls_policy_maps: .*(%s)" % said, mark)
    # tables that do not answer while the ClientHello waits: the handshake has its deadline, and nothing is left behind
    stopped = s.pids("lookup")
    with GnuTLS(2505, sni="partner.test") as c:
        c.reply()
        c.ehlo()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        env.at_end(lambda: [os.kill(pid, signal.SIGCONT) for pid in s.pids("lookup")])
        mark = s.mark()
        try:
            c.starttls()
            raise AssertionError("a handshake without the tables")
        except Gone:
            pass
        s.wait_log(r"SSL_accept error from unknown\[127\.0\.0\.1\]: Connection timed out$", mark)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    kit.check(mail("partner.test", 2501, partner)[0][0] == 250 and s.pids("lookup") == stopped and not s.has_log("ended with status"), "all is well again")
    # in clear there is no server name
    kit.check(Swaks(source="198.18.0.9", until="MAIL").last()[0] == 454 and Swaks(source="198.18.0.11", until="MAIL").last()[0] == 250, "in clear")
    # a session of one name is none of another
    session = env.path("sni-session")
    mail("weak.test", args=("-sess_out", session))
    kit.check("Reused" in hello(25, "-tls1_2", "-sess_in", session, "-servername", "weak.test", source="198.18.0.9"), "the same name")
    kit.check("Reused" not in hello(25, "-tls1_2", "-sess_in", session, "-servername", "partner.test", source="198.18.0.9"), "another name")
    # the log line has the name only where the name chooses certificates, as without these tables
    for port, name in ((25, ""), (2502, r" to weak\.test")):
        mark = s.mark()
        mail("weak.test", port)
        s.wait_log(r"TLS connection established from unknown\[198\.18\.0\.9\]%s: TLSv1\.2 with cipher" % name, mark)
    # behind a proxy: another client, the same handshake
    with OpenSSL(2504, args=("-servername", "partner.test")) as c:
        c.ehlo()
        kit.check(c.say("MAIL FROM:<a@b.example>")[0] == 554, "the proxy itself")
        for addr, code in (("198.18.0.11", 250), ("198.18.0.44", 554)):
            kit.check(c.say("XCLIENT NAME=[UNAVAILABLE] ADDR=%s" % addr)[0] == 220 and c.ehlo()[0] == 250, "XCLIENT")
            kit.check(c.say("MAIL FROM:<a@b.example>")[0] == code and c.say("RSET")[0] == 250, "for " + addr)
    s.stop()


def broken(env, pair):
    """A table with a typo, or none at all: the service lives and everybody gets 454."""
    table = env.write("typo.cidr", "198.18.0.0/24 may\n")
    main = "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_peername_lookup = no\nsmtpd_tls_policy_maps = cidr:" % pair
    s = env.signet("typo", main + table + "\n")

    def mail(tls=False):
        return Swaks(source="198.18.0.9", until="MAIL", tls=tls).last()

    kit.check(mail()[0] == 250, "a table that is in order")
    for text in ("198.18.0.0/24 may\n198.18.0.0/99 encrypt\n", None):
        if text:
            env.write("typo.cidr", text)
        else:
            os.unlink(table)
        for tls in (False, True):
            got = kit.wait_until("the refusal", lambda: (lambda r: r if r[0] != 250 else None)(mail(tls)))
            kit.check(got[0] == 454 and got[1].endswith("TLS policy is temporarily not available"), got)
        env.write("typo.cidr", "198.18.0.0/24 may\n")
        kit.wait_until("the service again", lambda: mail()[0] == 250)
    # in main.cf itself it is seen at once: the reload is refused
    s.set(main + "{ {198.18.0.0/24 may} {198.18.0.0/99 encrypt} }\n")
    since = s.mark()
    s.reload()
    kit.check(s.has_log(r"error: .*main\.cf:\d+: smtpd_tls_policy_maps: .*bad prefix length", since) and s.has_log("reload refused", since), "a reload")
    kit.wait_until("the others to see the table again", lambda: all(mail()[0] == 250 for _ in range(4)))
    kit.check(not s.has_log(r"ended with status"), "no process ended")
    s.stop()
