"""A ladder that keeps TLS: servers and middleboxes that stumble over a ClientHello get a plainer one; clear text comes last and only
by the rules of `may`; mandatory levels have no ladder, DANE keeps its demands on every rung; stalls count as failures."""
import ssl

import kit
import tls_kit

PLAIN = r"with plainer TLS \(no ticket, no post-quantum share\)"
OLD = r"with plainer TLS \(TLSv1\.2\)"


def deliver(s, rcpt):
    since = s.mark()
    qid = kit.queue_id(kit.send(rcpts=rcpt))
    s.wait_log(r"%s: to=<.*status=" % qid, since)
    return qid, s.log()[since:]


def run(env):
    names = ["ticket", "version", "stall", "shut", "modern", "starttls", "mandatory", "dane", "both"]
    zone = ["%s.test. A 127.0.0.%d" % (n, i + 2) for i, n in enumerate(names)]
    cert, key = env.cert("mx.test", sans=[n + ".test" for n in names])
    wrong = "00" * 32
    pin = env.pubkey_fingerprint(cert).replace(":", "")
    zone += ["_25._tcp.dane.test. TLSA 3 1 1 " + pin, "_25._tcp.both.test. TLSA 3 1 1 " + wrong]
    env.dns(zone)
    full, tls12 = tls_kit.context(cert, key), tls_kit.context(cert, key, most=ssl.TLSVersion.TLSv1_2)
    rules = {
        "ticket": (full, lambda h: "close" if h.ticket else None),             # cannot bear a session_ticket extension
        "version": (tls12, lambda h: "close" if h.tls13 else None),            # hangs up on TLS 1.3 (version intolerance)
        "stall": (full, lambda h: "stall" if h.ticket else None),              # swallows it
        "shut": (full, lambda h: "close"),                                     # cannot do TLS at all
        "modern": (full, lambda h: "close" if h.tls13 else None),              # as if someone in between wanted TLS 1.2
        "mandatory": (full, lambda h: "close" if h.ticket else None),
        "dane": (full, lambda h: "close" if h.ticket else None),
        "both": (full, lambda h: "close" if h.ticket else None),
    }
    servers = {n: tls_kit.Picky(*rules[n]) for n in rules}
    sinks = {n: env.sink("127.0.0.%d" % (i + 2), keywords=tls_kit.STARTTLS, tls=servers.get(n),
                         script={"STARTTLS": lambda conn, line: False} if n == "starttls" else {}) for i, n in enumerate(names)}
    main = ("smtp_tls_security_level = may\nsmtp_tls_loglevel = 1\nsmtp_tls_CAfile = %s\nsmtp_starttls_timeout = 2s\nminimal_backoff_time = 3s\n"
            "maximal_backoff_time = 3s\nqueue_run_delay = 2s\nsmtp_dns_support_level = dnssec\nsmtp_tls_policy_maps = inline:{ mandatory.test=secure, "
            "dane.test=dane, both.test=dane }\n" % env.ca())
    s = env.signet("mta", main)

    qid, log = deliver(s, "u@ticket.test")
    kit.check("status=sent" in log and "tls=may," in log, log)
    s.wait_log(r"ticket\.test\[127\.0\.0\.2\]:25: trying again " + PLAIN)
    h = servers["ticket"].hellos
    kit.check([x.ticket for x in h] == [True, False] and h[1].tls13 and not h[1].fallback, "plain is TLS 1.3 without a ticket")
    kit.check(not any(g > 0x1000 for g in h[1].groups), "and without a post-quantum group: %s" % h[1].groups)

    qid, log = deliver(s, "u@version.test")
    kit.check("status=sent" in log and "tls=may," in log, log)
    s.wait_log(r"version\.test\[127\.0\.0\.3\]:25: trying again " + OLD)
    s.wait_log(r"Anonymous TLS connection established to version\.test\[127\.0\.0\.3\]:25: TLSv1\.2 with cipher A(EC)?DH-")
    h = servers["version"].hellos
    kit.check([(x.tls13, x.fallback) for x in h] == [(True, False), (True, False), (False, True)], "TLS 1.2 says that it is a fallback")

    # silence is a failure, after smtp_starttls_timeout and not later
    qid, log = deliver(s, "u@stall.test")
    kit.check("status=sent" in log and "SSL_connect error to stall.test[127.0.0.4]:25: Connection timed out" in log, log)
    s.wait_log(r"stall\.test\[127\.0\.0\.4\]:25: trying again " + PLAIN)

    # a server that knows TLS 1.3 refuses the fallback (RFC 7507): whoever broke off the first two gets nothing out of it
    qid, log = deliver(s, "u@modern.test")
    kit.check("inappropriate fallback" in log, log)
    kit.check("status=deferred (Cannot start TLS: handshake failure)" in log and not servers["modern"].done, log)

    # no TLS at all: not in clear at first; when the mail has waited, and after every rung, in clear
    qid, log = deliver(s, "u@shut.test")
    kit.check("tls=may?, dsn=4.7.5, status=deferred (Cannot start TLS: handshake failure)" in log, log)
    kit.check(len(servers["shut"].hellos) == 3 and not sinks["shut"].messages, "three rungs, no mail in clear")
    s.wait_log(r"%s: to=<u@shut\.test>, .*tls=may:none, .*status=sent" % qid)
    kit.check(len(servers["shut"].hellos) % 3 == 0 and len(sinks["shut"].messages) == 1, "%d hellos" % len(servers["shut"].hellos))

    # a connection that closes behind STARTTLS is a failed handshake, too (20.15)
    qid, log = deliver(s, "u@starttls.test")
    kit.check("tls=may?, dsn=4.7.5, status=deferred" in log and sinks["starttls"].connections == 3, log)
    s.wait_log(r"%s: to=<u@starttls\.test>, .*tls=may:none, .*status=sent" % qid)

    # mandatory levels: one attempt, at full strength
    qid, log = deliver(s, "u@mandatory.test")
    kit.check("tls=!secure, dsn=4.7.5, status=deferred (Cannot start TLS: handshake failure)" in log, log)
    kit.check(len(servers["mandatory"].hellos) == 1 and "mandatory.test[127.0.0.8]:25: trying" not in log, "no ladder")

    # DANE is opportunistic, so it has a ladder; what it found is wanted on every rung
    qid, log = deliver(s, "u@dane.test")
    kit.check("tls=dane," in log and "status=sent" in log and "Verified TLS connection established to dane.test" in log, log)
    kit.check(len(servers["dane"].hellos) == 2, "two attempts")
    qid, log = deliver(s, "u@both.test")
    kit.check("dsn=4.7.5, status=deferred (Server certificate not verified)" in log and not sinks["both"].messages, log)
    kit.check(len(servers["both"].hellos) == 2, "the wrong server is wrong on the plain rung as well")

    tls = [r["tls"] for r in s.status()["roles"] if r["role"] == "smtpc"]
    kit.check(sum(t["plainer"] for t in tls) == 5 and sum(t["failed"] for t in tls) >= 15, tls)
    s.stop()
