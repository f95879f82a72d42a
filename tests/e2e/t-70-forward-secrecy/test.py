"""Forward secrecy of the server as FORWARD_SECRECY_README has it, seen from outside with openssl s_client: EECDH and EDH out of
the box, DH parameter files, EECDH grades and their lists of curves, post-quantum groups where the library has them, names of groups that it
does not have, cipher preference, what mandatory TLS leaves out."""
import concurrent.futures
import re

import kit
from tls_kit import POST_QUANTUM, key_exchange


def client(port, *args, tls="-tls1_2", address="127.0.0.1"):
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -starttls smtp -connect %s:%d %s %s 2>&1" % (
        address, port, tls, " ".join(args)), check_status=False)
    m = re.search(r"^(?:New|Reused), (\S+), Cipher is (\S+)", out, re.M)
    cipher = m.group(2) if m and m.group(2) not in ("(NONE)", "0000") else None
    return cipher, key_exchange(out), out


LISTENERS = [  # port, overrides
    (2501, "smtpd_tls_dh1024_param_file={d}/dh2048.pem"),
    (2502, "smtpd_tls_dh1024_param_file={d}/dh1024.pem smtpd_tls_security_level=encrypt"),
    (2503, "smtpd_tls_dh1024_param_file={d}/absent.pem"),
    (2504, "smtpd_tls_dh1024_param_file=auto smtpd_tls_dh512_param_file={d}/dh512.pem"),
    (2505, "smtpd_tls_eecdh_grade=strong"),
    (2506, "smtpd_tls_eecdh_grade=ultra"),
    (2507, "smtpd_tls_eecdh_grade=none"),
    (2508, "smtpd_tls_eecdh_grade=strong tls_eecdh_strong_curve=secp521r1,secp384r1"),
    (2509, "smtpd_tls_eecdh_grade=ultra tls_eecdh_ultra_curve=X448"),
    (2510, "tls_preempt_cipherlist=yes"),
    (2511, "smtpd_tls_security_level=encrypt smtpd_tls_mandatory_protocols=>=TLSv1"),
    (2512, "smtpd_tls_wrappermode=yes"),
    (2513, "smtpd_tls_security_level=encrypt smtpd_tls_mandatory_ciphers=high smtpd_tls_mandatory_exclude_ciphers=AES256"),
    (2514, "smtpd_tls_exclude_ciphers=kEECDH"),
    (2515, "smtpd_tls_protocols=TLSv1.2"),
    (2516, "tls_eecdh_auto_curves=secp384r1 tls_ffdhe_auto_groups="),
    (2517, "smtpd_tls_cert_file=none smtpd_tls_key_file="),
    (2518, "smtpd_tls_dh1024_param_file={d}/nonsense.pem"),
    (2519, "tls_eecdh_auto_curves=X25519MLKEM768,nosuchgroup,?NeitherThis,P-256 tls_ffdhe_auto_groups="),
    (2520, "tls_eecdh_auto_curves=nosuchgroup tls_ffdhe_auto_groups="),
    (2521, "smtpd_tls_eecdh_grade=ultra tls_eecdh_ultra_curve=X25519MLKEM768,P-384"),
]


def run(env):
    checks = []
    usual = "X25519MLKEM768" if POST_QUANTUM else "X25519"
    kit.need("openssl")
    cert, key = env.cert("mx.test", key="rsa")
    env.openssl("dhparam", "-out", "dh512.pem", "512")
    env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "dh_rfc5114:1", "-out", "dh1024.pem")
    env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "dh2048.pem")
    env.write("nonsense.pem", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n")
    master = kit.MASTER_CF.format(smtp="127.0.0.1:25")
    for port, over in LISTENERS:
        master += "127.0.0.1:%d inet n - n - - smtpd\n%s" % (port, "".join(" -o { %s = %s }\n" % tuple(o.split("=", 1)) for o in over.format(d=env.dir).split(" ")))
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_loglevel = 1\n"
                   "smtpd_peername_lookup = no\n" % (cert, key), master)

    def sees(*args, **kw):
        checks.append(lambda: sees_now(*args, **kw))

    def refused(*args, **kw):
        checks.append(lambda: refused_now(*args, **kw))

    def sees_now(what, port, *args, cipher=None, temp=None, tls="-tls1_2"):
        got, k, out = client(port, *args, tls=tls)
        kit.check(got and (cipher is None or re.fullmatch(cipher, got)), "%s: cipher %s (%s)\n%s" % (what, got, k, out[-1500:]))
        kit.check(temp is None or ((k or "") + ",").startswith(temp + ","), "%s: key exchange %s (%s)\n%s" % (what, k, got, out[-1500:]))

    def refused_now(what, port, *args, tls="-tls1_2"):
        got, k, out = client(port, *args, tls=tls)
        kit.check(got is None, "%s: agreed on %s %s" % (what, got, k))

    # "The Postfix >= 2.2 SMTP server supports forward secrecy in its default configuration."
    sees("supports forward secrecy in its default configuration", 25, tls="", cipher="TLS_AES_256_GCM_SHA384", temp=usual)
    sees("supports forward secrecy in its default configuration, TLS 1.2", 25, cipher="ECDHE-RSA-.*")
    # "If the remote SMTP client prefers cipher suites with forward secrecy, then the traffic ... will resist decryption"
    sees("a client that prefers forward secrecy gets it", 25, "-cipher ECDHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384", cipher="ECDHE-RSA-AES128-GCM-SHA256")
    # "Some remote SMTP clients may support forward secrecy, but prefer cipher suites without"
    mixed = "-cipher AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
    sees("the client's preference counts by default", 25, mixed, cipher="AES128-GCM-SHA256")
    sees("tls_preempt_cipherlist = yes ignores the client's preference", 2510, mixed, cipher="ECDHE-RSA-AES256-GCM-SHA384")
    # "support ... EDH out of the box, with no additional configuration"
    edh = "-cipher DHE-RSA-AES256-GCM-SHA384"
    sees("EDH out of the box, 2048 bits for the Exim clients that require it", 25, edh, cipher="DHE-RSA.*", temp="DH, 2048 bits")
    # "To use a non-default prime, generate a ... DH parameter file and set smtpd_tls_dh1024_param_file to the filename"
    sees("smtpd_tls_dh1024_param_file = dh2048.pem: the prime need not actually be 1024 bits long", 2501, edh, temp="DH, 2048 bits")
    sees("configure 1024-bit EDH instead, for submission clients that do not do 2048 bits", 2502, edh + ":@SECLEVEL=0", temp="DH, 1024 bits")
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/dh1024\.pem: a group of 1024 bits is weak")
    sees("an unreadable parameter file leaves the choice to the library", 2503, edh, temp="DH, 2048 bits")
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/absent\.pem: No such file or directory; the library chooses")
    sees("a broken parameter file leaves the choice to the library", 2518, edh, temp="DH, 2048 bits")
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/nonsense\.pem: .*; the library chooses")
    sees("smtpd_tls_dh1024_param_file = auto, smtpd_tls_dh512_param_file accepted", 2504, edh, temp="DH, 2048 bits")
    refused("export ciphers are gone", 2504, "-cipher EXPORT:@SECLEVEL=0")
    # "When the remote SMTP client also supports EECDH and implements the P-256 curve, forward secrecy just works."
    sees("EECDH with P-256 just works", 25, "-curves P-256", cipher="ECDHE.*", temp="ECDH, prime256v1")
    sees("EECDH with P-256 just works, TLS 1.3", 25, "-curves P-256", tls="-tls1_3", temp="ECDH, prime256v1")
    # "smtpd_tls_eecdh_grade = strong | ultra": that list first, the rest of the menu behind it
    every = "-curves X25519:P-256:P-384:P-521"
    for tls in ("-tls1_2", "-tls1_3"):
        sees("grade auto: the client chooses the curve", 25, every, tls=tls, temp="X25519")
        sees("grade strong: prime256v1 first", 2505, every, tls=tls, temp="ECDH, prime256v1")
        sees("grade ultra: secp384r1 first", 2506, every, tls=tls, temp="ECDH, secp384r1")
        sees("grade strong cuts nobody off", 2505, "-curves X25519", tls=tls, temp="X25519")
        sees("grade ultra cuts nobody off", 2506, "-curves P-521", tls=tls, temp="ECDH, secp521r1")
        # "we will likely extend tls_eecdh_strong_curve to be an ordered list of curves"
        sees("tls_eecdh_strong_curve is an ordered list of curves", 2508, every, tls=tls, temp="ECDH, secp521r1")
        sees("... its second curve for who lacks the first", 2508, "-curves X25519:P-384", tls=tls, temp="ECDH, secp384r1")
        sees("tls_eecdh_ultra_curve = X448", 2509, "-curves X25519:X448", tls=tls, temp="X448")
    refused("a list set explicitly is the only one", 2508, "-curves X25519", "-cipher ECDHE-RSA-AES256-GCM-SHA384")
    sees("... and EDH is still there for the others", 2508, "-curves X25519", "-cipher ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384", cipher="DHE-RSA.*")
    refused("grade none offers no EECDH at TLS 1.2", 2507, "-cipher ECDHE")
    sees("grade none leaves EDH", 2507, edh, temp="DH, 2048 bits")
    sees("grade none does not concern TLS 1.3", 2507, tls="-tls1_3", temp=usual)
    sees("tls_eecdh_auto_curves", 2516, every, temp="ECDH, secp384r1")
    refused("tls_eecdh_auto_curves is all there is", 2516, "-curves X25519", tls="-tls1_3")
    sees("tls_ffdhe_auto_groups for TLS 1.3", 25, "-curves ffdhe2048", tls="-tls1_3", cipher="TLS_.*")
    # groups of a newer library in the list: there they are used, here they are passed over
    hybrid = "-groups X25519MLKEM768"
    if POST_QUANTUM:
        sees("X25519MLKEM768 out of the box", 25, hybrid, tls="-tls1_3", temp="X25519MLKEM768")
        sees("and it comes first for who has both", 25, "-groups X25519MLKEM768:X25519", tls="-tls1_3", temp="X25519MLKEM768")
        sees("X25519MLKEM768 in tls_eecdh_auto_curves", 2519, hybrid, tls="-tls1_3", temp="X25519MLKEM768")
        sees("X25519MLKEM768 as a curve of a grade", 2521, "-groups X25519:P-384:X25519MLKEM768", tls="-tls1_3", temp="X25519MLKEM768")
        refused("X25519MLKEM768 where the list does not have it", 2516, hybrid, tls="-tls1_3")
        sees("TLS 1.2 does without it", 25, "-groups X25519MLKEM768:P-256", temp="ECDH, prime256v1")
    sees("a client without X25519MLKEM768", 25, "-groups X25519", tls="-tls1_3", temp="X25519")
    sees("P-256 behind names that the library may not know", 2519, "-groups P-256", tls="-tls1_3", temp="ECDH, prime256v1")
    refused("they do not bring the library's own list back", 2519, "-groups X25519", tls="-tls1_3")
    sees("nor does the next curve of the grade suffer", 2521, "-groups X25519:P-384", tls="-tls1_3", temp="ECDH, secp384r1")
    sees("a list without any group that exists", 2520, "-groups X25519", tls="-tls1_3", temp="X25519")
    s.wait_log(r'warning: no usable key exchange group in "nosuchgroup ", using the built-in list$')
    # grades, exclusions, and what only a listener whose level is may takes
    old = "-cipher DEFAULT:@SECLEVEL=0"
    sees("TLS 1.0 where the level is may", 25, old, tls="-tls1", cipher="ECDHE-RSA.*")
    sees("plain RSA key exchange where the level is may", 25, "-cipher kRSA", cipher="AES.*")
    for port, what in ((2511, "encrypt"), (2502, "encrypt")):
        refused("no TLS 1.1 at level %s" % what, port, old, tls="-tls1_1")
        refused("no plain RSA key exchange at level %s" % what, port, "-cipher kRSA")
        sees("EECDH at level %s" % what, port, cipher="ECDHE.*")
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -connect 127.0.0.1:2512 -tls1_2 -cipher kRSA 2>&1", check_status=False)
    kit.check("Cipher is (NONE)" in out, "no plain RSA key exchange in wrapper mode")
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -connect 127.0.0.1:2512 -tls1_2 2>&1", check_status=False)
    kit.check("Cipher is ECDHE" in out, "EECDH in wrapper mode")
    refused("smtpd_tls_mandatory_exclude_ciphers", 2513, "-cipher AES256")
    sees("smtpd_tls_mandatory_ciphers = high", 2513, cipher="ECDHE-RSA-(AES128|CHACHA20|ARIA128|CAMELLIA128).*")
    sees("smtpd_tls_exclude_ciphers", 2514, cipher="DHE-RSA.*")
    refused("smtpd_tls_protocols", 2515, tls="-tls1_3")
    sees("smtpd_tls_protocols", 2515, tls="-tls1_2")
    # "five values for the first component of their OpenSSL name: AECDH, ECDHE, ADH, EDH or DHE"
    sees("anonymous suites offer forward secrecy of necessity (smtpd_tls_cert_file = none)", 2517, "-cipher aNULL:@SECLEVEL=0", cipher="(AECDH|ADH)-.*")
    refused("smtpd_tls_cert_file = none has no suites with a certificate", 2517, "-cipher ECDHE-RSA-AES256-GCM-SHA384")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(c) for c in checks]:
            done.result()
    # the log names the group
    mark = s.mark()
    client(25, hybrid if POST_QUANTUM else "-groups X25519", tls="-tls1_3")
    s.wait_log(r"TLS connection established from \S+: TLSv1\.3 with cipher \S+ \(256/256 bits\) key-exchange %s server-signature RSA-PSS \(2048 bits\) server-digest SHA256$" % (
        "X25519MLKEM768" if POST_QUANTUM else "x25519"), mark)
    s.stop()
