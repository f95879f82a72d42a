"""The forward secrecy guide's cron job: DH parameters that are made anew every night are in use without a reload, seen by openssl s_client
and gnutls-cli; what is no group leaves the one in use; a file that not everybody may read is not handed round."""
import os
import re

import kit


def bits(port=25):
    out = kit.sh("sh", "-c", "echo QUIT | timeout 20 openssl s_client -starttls smtp -connect 127.0.0.1:%d -tls1_2 "
                 "-cipher DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0 2>&1" % port, check_status=False)
    m = re.search(r"(?:Server|Peer) Temp Key: DH, (\d+) bits", out)
    kit.check(m, out[-1500:])
    return int(m.group(1))


def run(env):
    kit.need("openssl", "gnutls-cli")
    cert, key = env.cert("mx.test", key="rsa")
    d = env.path("mx", "etc")

    def make(name, *how):
        env.openssl("genpkey", "-genparam", "-algorithm", "DH", "-out", name + ".tmp", *how)
        os.chmod(env.path(name + ".tmp"), 0o644)
        os.rename(env.path(name + ".tmp"), os.path.join(d, name))

    os.makedirs(d)
    make("dh.pem", "-pkeyopt", "group:ffdhe2048")
    make("hidden.pem", "-pkeyopt", "group:ffdhe2048")
    os.chmod(os.path.join(d, "hidden.pem"), 0o600)
    s = env.signet("mx", "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_peername_lookup = no\n"
                   "smtpd_tls_dh1024_param_file = ${config_directory}/dh.pem\n" % (cert, key),
                   kit.MASTER_CF.format(smtp="127.0.0.1:25") + "127.0.0.1:26 inet n - n - - smtpd -o smtpd_tls_dh1024_param_file=${config_directory}/hidden.pem\n")
    workers = s.pids("smtpd")
    kit.check(bits() == 2048 and bits(26) == 2048, "as configured")
    since = s.mark()
    make("dh.pem", "-pkeyopt", "group:ffdhe3072")
    make("hidden.pem", "-pkeyopt", "group:ffdhe3072")
    s.wait_log(r"smtpd_tls_dh1024_param_file: \S+/dh\.pem: the new group is in use$", since)
    # the kernel spreads connections over the processes
    kit.wait_until("the new group at every process", lambda: all(bits() == 3072 for _ in range(8)))
    kit.check(bits(26) == 2048 and not s.has_log(r"hidden\.pem: the new group", since), "a file that not everybody may read needs a reload")
    out = kit.sh("sh", "-c", "(sleep 0.3; printf 'EHLO c\\r\\n'; sleep 0.3; printf 'QUIT\\r\\n'; sleep 0.3) | timeout 20 gnutls-cli --starttls-proto=smtp --port 25 "
                 "--no-ca-verification --crlf --priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA 127.0.0.1", check_status=False)
    kit.check("Handshake was completed" in out and re.search(r"Description: .*\(DHE-", out), out[-2500:])
    for text in ("", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", open(cert).read()):
        since = s.mark()
        env.write("mx/etc/dh.new", text)
        os.rename(os.path.join(d, "dh.new"), os.path.join(d, "dh.pem"))
        s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/dh\.pem: [^;]+; the group in use stays$", since)
        kit.check(bits() == 3072, "the group in use stays")
    since = s.mark()
    os.unlink(os.path.join(d, "dh.pem"))
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/dh\.pem: No such file or directory; the group in use stays$", since)
    kit.check(bits() == 3072, "the group in use stays")
    make("dh.pem", "-pkeyopt", "dh_rfc5114:1")
    s.wait_log(r"warning: smtpd_tls_dh1024_param_file: \S+/dh\.pem: a group of 1024 bits is weak", since)
    kit.wait_until("the weak group", lambda: all(bits() == 1024 for _ in range(8)))
    kit.check(s.pids("smtpd") == workers, "no process was replaced")
    s.stop()
