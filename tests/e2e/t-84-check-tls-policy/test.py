"""signet check reads smtpd_tls_policy_maps: values that make no sense, names that relax, clients without STARTTLS."""
import os
import re
import shutil

import kit
from client_kit import Swaks


def run(env):
    cert, key = env.cert("mx.test")
    table = env.write("mx/etc/policy", "* encrypt\nlax.example may\n.strict.example verify\n192.0.2.1 may\n192.0.2.2 none\ntypo.example encript\n2001:db8 may\n")
    main = "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_policy_maps = texthash:%s\n" % (cert, key, table)
    s = env.signet("mx", main, start=False)
    out = s.cli("check", check_status=False)
    lines = {int(n): text for n, text in re.findall(r"%s:(\d+): (.*)" % re.escape(table), out)}
    kit.check(sorted(lines) == [1, 2, 5, 6], "%s\n%s" % (lines, out))
    kit.check("warning" in lines[1] and "* demands TLS of everybody on port 25" in lines[1], lines)
    kit.check("warning" in lines[2] and "lax.example relaxes by DNS name (may, where others get encrypt)" in lines[2], lines)
    kit.check("192.0.2.2 is not offered STARTTLS" in lines[5] and "error" in lines[6] and '"encript" is not one of none, may' in lines[6], lines)
    # without "*" the service's level is what others get
    env.write("mx/etc/policy", "lax.example may\nno.example none\n")
    out = s.cli("check", check_status=False)
    kit.check("lax.example relaxes" not in out and "sni=" not in out and "no.example relaxes by DNS name (none, where others get may)" in out, out)
    # every client can say any server name
    env.write("mx/etc/policy", "* encrypt\nsni=lax.example may\nsni=strict.example verify\nsni=none.example none\n")
    out = s.cli("check", check_status=False)
    kit.check(re.search(r"warning: .*sni=lax\.example takes the place of what others get \(encrypt\): every client can choose this entry", out) and
              "sni=strict.example" not in out and re.search(r"error: .*sni=none\.example: a client that asks for a server name has begun TLS already", out), out)
    env.write("mx/etc/policy", "sni=strict.example encrypt\n")
    s.set(main + "smtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = %s\n" % env.ca(), kit.MASTER_CF.format(smtp="127.0.0.1:25") + " -o smtpd_tls_security_level=encrypt\n")
    out = s.cli("check", check_status=False)
    kit.check("sni=strict.example takes the place of what others get (smtpd_tls_req_ccert)" in out, out)
    # who demands it elsewhere than on port 25 may
    env.write("mx/etc/policy", "* encrypt\n")
    s.set(main, kit.MASTER_CF.format(smtp="127.0.0.1:587"))
    out = s.cli("check", check_status=False)
    kit.check("on port 25" not in out, out)
    # the same level with less to show relaxes as well
    env.write("mx/etc/policy", "* verify bits=256 match=.partner.example\nweak.example verify bits=128 match=.other.example\nany.example verify bits=256\n"
              "other.example verify bits=256 issuer=/CN=x\n192.0.2.1 verify\n")
    out = s.cli("check", check_status=False)
    kit.check("weak.example relaxes by DNS name (verify bits=128 match=.other.example, where others get verify bits=256 match=.partner.example)" in out and
              "any.example relaxes" in out and " other.example relaxes" not in out and "192.0.2.1 relaxes" not in out, out)
    keys_and_references(env, s, main)
    chains(env, cert, key)
    words(env, cert, key)
    fingerprints(env, cert, key)


def keys_and_references(env, s, main):
    """Keys that no client ever has, and entries that name what is not there."""
    env.write("mx/etc/policy", "2001:0db8::1 encrypt\n10.0.0.0/8 encrypt\n*.partner.example verify\n[192.0.2.1] encrypt\n192.0.2 encrypt\nmx.example verify\n"
              "chain.example may chain=nobody.test\nissuer.example verify issuer_maps=texthash:/nonexistent/x\nold.example encrypt protocols=TLSv1\n")
    s.set(main)
    out = s.cli("check", check_status=False)
    lines = {int(n): text for n, text in re.findall(r"etc/policy:(\d+): (.*)", out)}
    kit.check(sorted(lines) == [1, 2, 3, 4, 7, 8, 9], "%s\n%s" % (lines, out))
    for n, said in ((1, "warning: .*no client is ever found by this key: it is looked up as 2001:db8::1"), (2, "warning: .*cidr: table"),
                    (3, "warning: .*write .partner.example for all names below it"), (4, "warning: .*neither a host name nor an address"),
                    (7, "error: .*chain=nobody.test: there is no tls_server_sni_maps"), (8, "error: .*issuer_maps: .*No such file or directory: the client gets 454"),
                    (9, 'error: .*"TLSv1" leaves no protocol of TLSv1.2 or later')):
        kit.check(re.search(said, lines[n]), "%d: %s" % (n, lines[n]))
    kit.check("signet: warning" not in out, "one line each: %s" % out)
    table = env.write("mx/etc/networks", "10.0.0.0/8 encrypt\n2001:db8::/32 verify\n")
    s.set(main + "smtpd_tls_policy_maps = cidr:%s\n" % table)
    kit.check("is ever found" not in s.cli("check", check_status=False), "networks of a cidr table are what they should be")


def chains(env, cert, key):
    """Certificates as they are put together by mistake: one line that names parameter, file and what to do."""
    other = env.cert("other.test")
    env.openssl("ec", "-in", key, "-aes256", "-passout", "pass:x", "-out", "locked.key")
    env.openssl("req", "-new", "-key", key, "-subj", "/CN=mx.test", "-out", "old.csr")
    env.openssl("x509", "-req", "-in", "old.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "old.pem", "-days", "-1")
    read = {"ca": env.ca(), "key": key, "cert": cert, "other": other[0], "locked": env.path("locked.key"), "old": env.path("old.pem")}

    def file(*parts):
        return env.write("-".join(parts) + ".chain", "".join(open(read[p]).read() for p in parts))

    good = file("key", "cert", "ca")
    mistakes = [(file("cert", "key"), "error", "a certificate before any private key: each key stands in front"), (file("key", "other"), "error", "certificate does not fit its private key"),
                (file("key", "ca", "cert"), "error", "certificate does not fit its private key"), (file("locked", "cert"), "error", "private key is encrypted or unreadable"),
                (env.write("none.chain", "nothing\n"), "error", "no key and no certificate in it"), (env.dir, "error", "Is a directory"),
                (file("key", "old", "ca"), "warning", "the certificate has expired"), (file("key", "cert", "other"), "warning", "certificate 2 did not issue the one before it"),
                (file("key"), "error", "a private key without a certificate behind it"), (good, None, "")]
    s = env.signet("chains", start=False)
    for name in ("smtpd_tls_chain_files", "smtp_tls_chain_files", "tls_server_sni_maps"):
        for path, severity, text in mistakes:
            sni = name == "tls_server_sni_maps"
            s.set("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s\n" % good + "%s = %s\n" % (name, "inline:{ { mx.test = %s } }" % path if sni else path))
            found = re.findall(r"main\.cf:\d+: (\w+): %s: (.*)" % name, s.cli("check", check_status=False))
            if severity is None:
                kit.check(found == [], "%s = %s: %s" % (name, path, found))
            elif not (sni and path in (env.path("none.chain"), env.dir)):
                kit.check(len(found) == 1 and found[0][0] == severity and text in found[0][1] and (sni or path in found[0][1]), "%s = %s: %s" % (name, path, found))
            else:
                kit.check(len(found) == 1 and found[0][0] == "error", "%s = %s: %s" % (name, path, found))
    # pairs: the parameter to be changed is the one that is named, here and in the log
    for what, name, text in (("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s" % (cert, other[1]), "smtpd_tls_key_file", "not the key of " + cert),
                             ("smtpd_tls_cert_file = %s" % cert, "smtpd_tls_cert_file", "no private key in it"),
                             ("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s" % (key, cert), "smtpd_tls_key_file", "no private key in it"),
                             ("smtpd_tls_eccert_file = %s\nsmtpd_tls_eckey_file = %s" % (cert, env.path("locked.key")), "smtpd_tls_eckey_file", "private key is encrypted or unreadable"),
                             ("smtpd_tls_eccert_file = %s\nsmtpd_tls_eckey_file = %s" % (env.ca(), key), "smtpd_tls_eckey_file", "not the key of " + env.ca())):
        s.set("smtpd_tls_security_level = may\n%s\n" % what)
        out = s.cli("check", check_status=False)
        kit.check(re.search(r"main\.cf:\d+: error: %s: .*%s" % (name, re.escape(text)), out) and len(re.findall("error:", out)) == 1, "%s: %s" % (what, out))
        mark = s.mark()
        s.start()
        s.wait_log(r"warning: %s: .*%s" % (name, re.escape(text)), mark)
        s.stop()
    s.set("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s\nsmtpd_tls_cert_file = %s\n" % (good, cert))
    out = s.cli("check", check_status=False)
    kit.check("warning: smtpd_tls_cert_file: it has no effect: smtpd_tls_chain_files is set" in out and "error" not in out, out)
    s.set("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s\ntls_server_sni_maps = inline:{ { *.mx.test = %s } { .mx.test = %s } }\n" % (good, good, good))
    out = s.cli("check", check_status=False)
    kit.check(len(re.findall("no client asks for a server name like this", out)) == 1, out)


def words(env, cert, key):
    """Single words: what has no effect, or another one than it seems."""
    base = "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (cert, key)
    policy = "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service "
    env.write("words/etc/senders", "a.example tls_require encript\nb.example tls_require\nc.example tls_require verify match=hostname\nd.example tls_require { encrypt bits=256 }\n")
    small = env.path("dh512.pem")
    env.openssl("dhparam", "-out", small, "512")
    unhashed = env.path("unhashed")
    os.mkdir(unhashed)
    shutil.copy(env.ca(), unhashed)
    s = env.signet("words", start=False)
    for text, want in (
            (base + "smtpd_tls_security_level = verify\n", [r"warning: .*smtpd_tls_security_level: fingerprint, verify and secure are for clients: it is taken for encrypt"]),
            (base + "smtpd_tls_security_level = may\nsmtpd_tls_protocols = !TLSv1, !TLSv1.1, !TLSv1.2, !TLSv1.3\n", [r"error: .*smtpd_tls_protocols: .* leaves no protocol"]),
            (base + "smtpd_tls_wrappermode = yes\nsmtpd_tls_mandatory_protocols = TLSv1\n", [r'error: .*smtpd_tls_mandatory_protocols: "TLSv1" leaves no protocol of TLSv1\.2 or later']),
            (base + "smtpd_tls_security_level = may\nsmtpd_tls_exclude_ciphers = aNULL, RC5\n", [r'warning: .*smtpd_tls_exclude_ciphers: unknown cipher "RC5": it excludes nothing']),
            (base + "smtpd_tls_security_level = may\ntls_session_ticket_cipher = aes-256-gcm\n", [r'error: .*tls_session_ticket_cipher: "aes-256-gcm" is not a CBC cipher']),
            (base + "smtpd_tls_security_level = may\ntls_eecdh_auto_curves = X25519 curve9\n", [r'warning: .*tls_eecdh_auto_curves: this TLS library knows no curve "curve9"']),
            (base + "smtpd_tls_security_level = may\nsmtpd_tls_dh1024_param_file = %s\n" % small, [r"warning: .*dh512\.pem: 512 bits are too few for the TLS library"]),
            (base + "smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_CApath = %s\n" % unhashed,
             [r"warning: smtpd_tls_CApath: \S+: no certificate is named by its hash there, so none is trusted \(openssl rehash "]),
            ("smtpd_tls_wrappermode = yes\n", [r"warning: service \S+ has no certificate: every client is turned away"]),
            ("smtpd_tls_security_level = encrypt\n", [r"warning: service \S+ has no certificate: it demands TLS and cannot offer it"]),
            (policy + "unix:private/nobody\n", [r"warning: .*check_policy_service unix:private/nobody: nobody answers"]),
            (policy + "{ unix:private/nobody, default_action=REJEKT }\n", [r'error: .*default_action "REJEKT": unknown restriction "REJEKT"', "nobody answers"]),
            (policy + "unix:private/nobody\nsmtpd_policy_service_default_action = DUNNO\n", ["nobody answers"]),
            ("smtpd_sender_restrictions = check_sender_access texthash:%s/senders\n" % s.conf,
             [r'senders:1: error: .*tls_require: "encript" is not one of none, may', r"senders:2: error: .*tls_require: empty value"])):
        s.set(text, kit.MASTER_CF.format(smtp="127.0.0.1:587"))
        out = s.cli("check", check_status=False)
        kit.check(all(re.search(w, out) for w in want), "%s: %s" % (text, out))
        kit.check(len(re.findall(r": (?:error|warning): ", out)) == len(want), "one line each: %s: %s" % (text, out))
    # and what the start makes of them: better no TLS than a handshake that never works
    s.set(base + "smtpd_tls_security_level = may\nsmtpd_tls_protocols = !TLSv1, !TLSv1.1, !TLSv1.2, !TLSv1.3\nsmtpd_tls_dh1024_param_file = %s\nsmtpd_tls_CApath = %s\n" % (small, unhashed),
          kit.MASTER_CF.format(smtp="127.0.0.1:587") + "127.0.0.1:588 inet n - n - - smtpd -o smtpd_tls_protocols=TLSv1.2\n")
    s.start()
    s.wait_log(r"TLS won't be enabled: smtpd_tls_protocols: .* leaves no protocol")
    kit.check("STARTTLS" not in Swaks(port=587, until="EHLO").out, "announced without a protocol")
    s.wait_log(r"warning: smtpd_tls_CApath: \S+: no certificate is named by its hash there, so none is trusted: openssl rehash ")
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+dh512\.pem: a group of less than 1024 bits is not taken by the TLS library; the library chooses the group")
    s.stop()


def fingerprints(env, cert, key):
    """Tables of fingerprints: another digest, a slip of the pen, a form in which they are never looked up."""
    good, md5 = env.fingerprint(cert), env.fingerprint(cert, "md5")
    rows = ["%s ok" % good.lower(), "%s md5" % md5, "%s colons" % good.replace(":", ""), "%s short" % good[:-3], "mx.example name"]
    table = env.write("ccert/etc/clients", "\n".join(rows) + "\n")
    access = env.write("ccert/etc/access", "\n".join(r.split()[0] + " OK" for r in rows) + "\n")
    s = env.signet("ccert", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_ask_ccert = yes\nrelay_clientcerts = texthash:%s\n"
                   "smtpd_relay_restrictions = permit_tls_clientcerts, check_ccert_access texthash:%s, reject_unauth_destination\n"
                   "smtpd_sender_restrictions = check_ccert_access { inline:{ {mx.example=OK} } { search_order = san_dns } }\n" % (cert, key, table, access), start=False)
    out = s.cli("check", check_status=False)
    for path, what in ((table, "relay_clientcerts"), (access, "check_ccert_access")):
        found = {int(n): text for n, text in re.findall(r"%s:(\d+): warning: %s: \S+ no client is ever found by this key: (.*)" % (re.escape(path), what), out)}
        kit.check(sorted(found) == [2, 3, 4, 5] and "has 16 bytes, a sha256 digest has 32" in found[2] and "looked up as " + good in found[3] and
                  "smtpd_tls_fingerprint_digest = sha256" in found[4], "%s: %s" % (found, out))
    kit.check(len(re.findall("no client is ever found", out)) == 8, "names are looked up as names: %s" % out)
