"""Sessions and connections used again: resumption with Postfix and with TLS 1.2 and 1.3 servers without any configuration, the verdict
that travels with it, a policy of its own for each session, entries dropped after a failed handshake, connection reuse by parameter."""
import ssl

import kit
import tls_kit

CERT = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = %s, %s
smtpd_tls_loglevel = 2
mydestination = postfix.test
local_transport = discard:
"""


def totals(s):
    out = {}
    for role in s.status()["roles"]:
        for name, n in role.get("tls", {}).items() if role["role"] == "smtpc" else ():
            out[name] = out.get(name, 0) + n
    return out


def deliver(s, rcpt):
    return kit.send_and_log(s, rcpt).decode()


def several(s, rcpt, n=4):
    """`n` messages, one after the other; how many of the handshakes were resumed, and the log. (Each smtpc has a cache of its own.)"""
    before = totals(s)
    log = "".join(deliver(s, rcpt) for _ in range(n))
    kit.check(log.count("status=sent") == n, log)
    after = totals(s)
    return {k: after[k] - before.get(k, 0) for k in after}, log


def run(env):
    env.dns(["postfix.test. A 127.0.0.2", "old.test. A 127.0.0.3", "new.test. A 127.0.0.4", "none.test. A 127.0.0.5", "odd.test. A 127.0.0.6"])
    cert, key = env.cert("mx.test", sans=["postfix.test", "old.test", "new.test", "none.test", "odd.test"])
    env.postfix("postfix", CERT % (key, cert), smtp="127.0.0.2:25")
    old = tls_kit.Picky(tls_kit.context(cert, key, most=ssl.TLSVersion.TLSv1_2))
    new = tls_kit.Picky(tls_kit.context(cert, key))
    none = tls_kit.Picky(tls_kit.context(cert, key, tickets=0))
    env.sink("127.0.0.3", keywords=tls_kit.STARTTLS, tls=old)
    env.sink("127.0.0.4", keywords=tls_kit.STARTTLS, tls=new)
    env.sink("127.0.0.5", keywords=tls_kit.STARTTLS, tls=none)
    main = ("smtp_tls_CAfile = %s\nsmtp_tls_security_level = verify\nsmtp_tls_loglevel = 1\nsmtp_tls_policy_maps = texthash:%s/etc/tls\n"
            % (env.ca(), env.path("mta")))
    s = env.signet("mta", main, files={"tls": ""}, start=False)
    s.start()
    smtpcs = len(s.pids("smtpc"))

    # whoever hands out tickets is resumed with; the verdict is that of the full handshake, not less and not more
    for rcpt, what in (("u@postfix.test", "Postfix"), ("u@old.test", "TLS 1.2"), ("u@new.test", "TLS 1.3")):
        d, log = several(s, rcpt, 4)
        kit.check(d["handshakes"] == 4 and d["resumed"] >= 4 - smtpcs and d["forward_secret"] == 4, "%s: %s" % (what, d))
        kit.check(log.count("Verified TLS connection established") == 4, log)
    kit.check(all(h.ticket for h in old.hellos) and sum(h.resumes for h in old.hellos) >= 4 - smtpcs, "tickets are offered in TLS 1.2")
    kit.check(sum(h.resumes for h in new.hellos) == sum(d[2] for d in new.done) >= 4 - smtpcs, "and in TLS 1.3")
    kit.check(not new.hellos[0].resumes and len(new.hellos) == 4, "the first is a full one")

    # no tickets, no sessions: full handshakes, without a complaint
    d, log = several(s, "u@none.test", 3)
    kit.check(d["resumed"] == 0 and d["failed"] == 0 and log.count("Verified") == 3, "%s\n%s" % (d, log))

    # a session belongs to its policy: another entry for the same server is a full handshake, and may have another outcome
    env.write("mta/etc/tls", "new.test fingerprint match=%s\n" % env.fingerprint(cert))
    s.reload()
    d, log = several(s, "u@new.test", 1)
    kit.check(d["resumed"] == 0 and "Verified" in log, "%s\n%s" % (d, log))
    env.write("mta/etc/tls", "new.test secure match=other.test\n")
    kit.wait_until("the table", lambda: "server certificate verification failed for new.test" in deliver(s, "u@new.test"))
    kit.check("status=deferred" in deliver(s, "u@new.test"), "not matched, session or not")
    kit.check(not any(h.resumes for h in new.hellos[-2:]), "an unmatched session is never kept")

    # a handshake that fails ends the session it tried to resume
    fail = []
    odd = tls_kit.Picky(tls_kit.context(cert, key, most=ssl.TLSVersion.TLSv1_2), rule=lambda h: "close" if h.resumes and not fail.append(1) else None)
    env.sink("127.0.0.6", keywords=tls_kit.STARTTLS, tls=odd)
    s.stop()
    s.set(main_cf=main + "smtp_tls_connection_reuse = no\nmax_use = 1\n")
    s.start()
    for _ in range(2 * smtpcs):
        deliver(s, "u@odd.test")
    kit.check(fail and sum(h.resumes for h in odd.hellos) == len(fail), "each failure dropped its session: %d hellos, %d closed" % (len(odd.hellos), len(fail)))
    kit.check("Cannot start TLS: handshake failure" in s.log(), "and was a failed handshake")

    # the switch
    s.stop()
    s.set(main_cf=main + "smtp_tls_session_cache_timeout = 0\n")
    env.write("mta/etc/tls", "")
    s.start()
    d, log = several(s, "u@old.test", 3)
    kit.check(d["resumed"] == 0 and d["handshakes"] == 3, d)

    # connections: kept only where it is wanted, and then without another handshake
    s.stop()
    s.set(main_cf=main + "smtp_connection_cache_destinations = old.test, new.test\n")
    env.write("mta/etc/tls", "new.test verify connection_reuse=yes\n")
    s.start()
    d, log = several(s, "u@old.test", 3)
    kit.check(d["handshakes"] == 3 and "reused" not in log, "smtp_tls_connection_reuse = no is the default: %s" % d)
    d, log = several(s, "u@new.test", 2 + smtpcs)
    kit.check(d["handshakes"] <= smtpcs and "Verified TLS connection reused to new.test[127.0.0.4]:25: TLSv1.3" in log, "%s\n%s" % (d, log))
    kit.check(d["sent_forward_secret"] == 2 + smtpcs, "mail on a connection that is used again counts as well: %s" % d)
    s.stop()
