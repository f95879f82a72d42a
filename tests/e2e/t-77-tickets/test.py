"""Session tickets: a ticket of one smtpd process is good at every other, after a restart of a process and after a reload, at the
same service and under the same server name only; keys change and are forgotten; timeout 0 and an empty cipher switch them off."""
import os
import signal
import time

import kit


def session(env, name, port=25, out=None, use=None, version="-tls1_3", sni="mx.test"):
    """One s_client session; True when it was resumed."""
    argv = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-starttls", "smtp", version, "-servername", sni]
    argv += ["-sess_out", env.path(out)] if out else []
    argv += ["-sess_in", env.path(use)] if use else []
    # a reply read after the handshake brings the TLS 1.3 ticket along
    r = kit.sh("sh", "-c", "(sleep 0.15; printf 'QUIT\\r\\n'; sleep 0.15) | %s -ign_eof" % " ".join(argv), check_status=False, timeout=20)
    kit.check("Reused" in r or "New, " in r, "%s: no handshake:\n%s" % (name, r))
    return "Reused" in r


def run(env):
    kit.need("openssl")
    cert, key = env.cert("mx.test")
    other = env.cert("other.test")
    table = env.write("sni", "other.test %s %s\n" % (other[1], other[0]), 0o600)
    base = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\nsmtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\n"
                   "tls_server_sni_maps = texthash:%s\n" % (key, cert, table), base + """\
127.0.0.1:26 inet n - n - - smtpd
127.0.0.1:27 inet n - n - - smtpd
 -o smtpd_tls_session_cache_timeout=0
127.0.0.1:28 inet n - n - - smtpd
 -o tls_session_ticket_cipher=
127.0.0.1:29 inet n - n - - smtpd
 -o smtpd_tls_session_cache_timeout=4s
127.0.0.1:31 inet n - n - - smtpd
 -o tls_server_sni_maps=
127.0.0.1:30 inet n - n - - smtpd
 -o { tls_session_ticket_cipher = aes-128-cbc }
""")
    for version in ("-tls1_2", "-tls1_3"):
        kit.check(not session(env, "first", out="t", version=version), "a first session is new")
        # the kernel spreads connections over the processes: many tries meet each of them
        kit.check(all(session(env, "again", use="t", version=version) for _ in range(8)), "resumed at every process %s" % version)
        kit.check(not session(env, "other service", port=26, use="t", version=version), "a ticket is of one service")
        kit.check(not session(env, "other name", use="t", version=version, sni="other.test"), "a ticket is of one server name")
        session(env, "where names choose nothing", port=31, out="w", version=version)
        kit.check(session(env, "where names choose nothing", port=31, use="w", version=version), "resumed where names choose nothing %s" % version)
        kit.check(not session(env, "other name", port=31, use="w", version=version, sni="other.test"), "a ticket is of one server name, also where names choose nothing")
        kit.check(not session(env, "off", port=27, out="z", version=version), "timeout 0")
        kit.check(not os.path.exists(env.path("z")) or not session(env, "off", port=27, use="z", version=version), "timeout 0: no tickets")
        kit.check(not session(env, "off", port=28, out="y", version=version), "no cipher")
        kit.check(not os.path.exists(env.path("y")) or not session(env, "off", port=28, use="y", version=version), "no cipher: no tickets")
        session(env, "aes-128", port=30, out="x", version=version)
        kit.check(session(env, "aes-128", port=30, use="x", version=version), "tls_session_ticket_cipher = aes-128-cbc")
    old = s.pids("smtpd")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    kit.wait_until("new processes", lambda: len(s.pids("smtpd")) == len(old) and not set(s.pids("smtpd")) & set(old))
    kit.wait_until("service again", lambda: s.status() and True)
    kit.check(session(env, "restart", use="t"), "resumed after all smtpd processes were replaced")
    s.reload()
    kit.check(session(env, "reload", use="t"), "resumed after a reload")
    kit.check(s.has_log(r"TLS connection established from"), "log")
    # keys: 2 s to encrypt with, 2 s more to decrypt with, and then nobody has them
    begun = time.monotonic()
    session(env, "short", port=29, out="s")
    kit.check(session(env, "short", port=29, use="s"), "fresh")
    time.sleep(max(0, 4.3 - (time.monotonic() - begun)))
    kit.check(not session(env, "short", port=29, use="s"), "forgotten after smtpd_tls_session_cache_timeout")
    session(env, "short", port=29, out="s")
    kit.check(session(env, "short", port=29, use="s"), "the next key is there, at every process")
