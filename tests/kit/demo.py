#!/usr/bin/env python3
"""make run: Signet at work in ./run/ - a sending relay, a receiving host, a throw-away CA and DNS, all of it real.

One message goes out at TLS level `secure` and arrives in a Maildir; a second destination shows the wrong certificate and is
deferred. Then everything keeps running until Ctrl-C, so that it can be poked at. Works as root and as an ordinary user."""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
import kit  # noqa: E402

RUN = os.path.join(TOP, "run")


def free_port(wanted):
    for port in range(wanted, wanted + 200, 10):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port near %d" % wanted)


def fresh_folder():
    """./run, or behind a link where the mail owner could not reach it (a checkout in root's home)."""
    if os.path.islink(RUN):
        shutil.rmtree(os.path.realpath(RUN), ignore_errors=True)
        os.unlink(RUN)
    shutil.rmtree(RUN, ignore_errors=True)
    at = TOP
    reachable = True
    while at != "/":
        reachable = reachable and bool(os.stat(at).st_mode & 0o001)
        at = os.path.dirname(at)
    if os.geteuid() != 0 or reachable:
        os.mkdir(RUN)
    else:
        os.symlink(tempfile.mkdtemp(prefix="signet-run-"), RUN)
        os.chmod(os.path.realpath(RUN), 0o755)
    return os.path.realpath(RUN)


def say(text=""):
    print(text, flush=True)


def show(label, host, pattern, since=0):
    line = host.wait_log(r"^.*" + pattern + r".*$", since).group(0)
    say("  %s" % re.sub(r"^\w+ +\d+ [\d:]+ \S+ ", "", line))


def main():
    for command in ("swaks", "nsd", "openssl"):
        if shutil.which(command) is None:
            raise SystemExit("%s is missing: tests/kit/deps.sh run says how to install it" % command)
    env = kit.Env(fresh_folder())
    stop = []
    signal.signal(signal.SIGTERM, lambda *a: stop.append(1))
    try:
        story(env)
        while not stop:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    except kit.Failed as e:
        say("\nThis went wrong: %s" % e)
        env.close()
        sys.exit(1)
    say("\nStopping everything.")
    env.close()


def story(env):
    out, good, wrong, dns = free_port(2525), free_port(2526), free_port(2527), free_port(5353)
    say("1. A throw-away CA, keys and a signed DNS zone in %s" % env.dir)
    ca = env.ca()
    relay_cert = env.cert("relay.example")
    good_cert = env.cert("mx.good.example")
    wrong_cert = env.cert("elsewhere.example")
    env.dns(["good.example. MX 10 mx.good.example.", "mx.good.example. A 127.0.0.1", "wrong.example. MX 10 mx.wrong.example.",
             "mx.wrong.example. A 127.0.0.1", "relay.example. A 127.0.0.1"], address="127.0.0.1", port=dns)
    me = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())  # whose mailboxes these are
    mail = env.path("mail")
    os.makedirs(mail)
    os.chown(mail, me.pw_uid, me.pw_gid)

    say("2. The receiving host (port %d; port %d shows a certificate for another name)" % (good, wrong))
    host = env.signet("host", "myhostname = mx.good.example\nvirtual_mailbox_domains = good.example, wrong.example\n"
                      "virtual_mailbox_base = %s\nvirtual_mailbox_maps = inline:{ {user@good.example=user/}, {user@wrong.example=user/} }\n"
                      "virtual_uid_maps = static:%d\nvirtual_gid_maps = static:%d\nvirtual_minimum_uid = 1\n"
                      "smtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n" % (
                          mail, me.pw_uid, me.pw_gid, *good_cert),
                      kit.MASTER_CF.format(smtp="127.0.0.1:%d" % good) +
                      "127.0.0.1:%d inet n - n - - smtpd\n -o smtpd_tls_cert_file=%s\n -o smtpd_tls_key_file=%s\n" % (wrong, *wrong_cert))

    say("3. The sending relay (port %d): level secure for both destinations" % out)
    relay = env.signet("relay", "myhostname = relay.example\nsmtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n"
                       "smtp_tls_loglevel = 1\nsmtp_tls_CAfile = %s\nsmtp_tls_policy_maps = texthash:%s/relay/etc/tls_policy\n"
                       "transport_maps = texthash:%s/relay/etc/transport\n" % (*relay_cert, ca, env.dir, env.dir),
                       kit.MASTER_CF.format(smtp="127.0.0.1:%d" % out),
                       {"tls_policy": "good.example:%d   secure\nwrong.example:%d  secure\n" % (good, wrong),
                        "transport": "good.example   smtp:good.example:%d\nwrong.example  smtp:wrong.example:%d\n" % (good, wrong)})

    def submit(rcpt):
        text = kit.sh("swaks", "--server", "127.0.0.1:%d" % out, "--tls", "--tls-verify-ca", "--tls-ca-path", ca, "--ehlo", "client.example", "--from",
                      "me@relay.example", "--to", rcpt, "--header", "Subject: Signet at work", check_status=False)
        if "queued as" not in text:
            text = kit.sh("swaks", "--server", "127.0.0.1:%d" % out, "--tls", "--ehlo", "client.example", "--from", "me@relay.example", "--to", rcpt,
                          "--header", "Subject: Signet at work")
        return kit.queue_id(text)

    say("\nA message for user@good.example, submitted with STARTTLS:")
    qid = submit("user@good.example")
    show("relay", relay, r"Verified TLS connection established to mx\.good\.example")
    show("relay", relay, qid + r": to=<user@good\.example>.*status=sent")
    show("host", host, r"TLS connection established from")
    show("host", host, r"to=<user@good\.example>.*status=sent \(delivered to maildir\)")
    found = kit.wait_until("the message in the Maildir", lambda: kit.maildir(os.path.join(mail, "user")))
    say("  In the Maildir %s/user: %d message, %s" % (mail, len(found), re.search(rb"Subject: .*", found[0]).group(0).decode().strip()))

    say("\nA message for user@wrong.example, whose server shows a certificate for elsewhere.example:")
    qid = submit("user@wrong.example")
    show("relay", relay, qid + r": to=<user@wrong\.example>.*status=deferred")
    say("\nIt waits, it is not bounced and not sent in clear:")
    say("  " + relay.cli("queue", "list").rstrip().replace("\n", "\n  "))
    conf, signet = relay.conf, os.path.join(kit.BUILD, "src", "signet")
    say("""
Everything keeps running; poke at it from another terminal:
  swaks --server 127.0.0.1:%d --tls --to user@good.example
  openssl s_client -starttls smtp -connect 127.0.0.1:%d -CAfile %s -verify_hostname mx.good.example
  %s -c %s queue list
  %s -c %s status
  tail -f %s
Ctrl-C stops everything.""" % (out, good, ca, signet, conf, signet, conf, relay.maillog))


main()
