"""Dovecot's authentication service as a peer: own configuration, own directory, no other service of Dovecot's."""
import os
import shutil
import signal
import smtplib
import ssl

import kit

CONF = """\
base_dir = {dir}/run
state_dir = {dir}/state
protocols =
listen = 127.0.0.1
log_path = {dir}/log
auth_verbose = yes
auth_mechanisms = {mechs}
auth_ssl_username_from_cert = yes
auth_failure_delay = 0
ssl = no
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = {dir}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0
  }}
}}
# guessers are not made to wait: the tests guess a lot
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {socket} {{
    mode = 0660
    user = {owner}
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
{more}
"""
MECHS = "plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 external anonymous xoauth2 oauthbearer"
USERS = "joe:{PLAIN}secret\nann@here.example:{PLAIN}tiger\ncert-user:::::::nopassword=y\n"


class Dovecot:
    """`socket`: where the authentication service listens, besides 127.0.0.1:`port`."""
    def __init__(self, env, socket, mechs=MECHS, users=USERS, port=12345, more=""):
        kit.need("dovecot")
        if os.geteuid() != 0:
            raise kit.Skipped("Dovecot as a peer needs root")
        self.env, self.socket = env, socket
        self.dir = env.path("dovecot")
        os.makedirs(self.dir, exist_ok=True)
        os.makedirs(os.path.dirname(socket), exist_ok=True)
        env.write("dovecot/users", users)
        shutil.chown(os.path.join(self.dir, "users"), "dovecot")
        self.conf = env.write("dovecot/dovecot.conf", CONF.format(dir=self.dir, socket=socket, mechs=mechs, owner=kit.owner(), port=port, more=more))
        self.start()

    def start(self):
        self.p = kit.Process(self.env, ["dovecot", "-F", "-c", self.conf], "dovecot")
        self.env.at_end(self.stop)
        kit.wait_until("Dovecot to listen", lambda: self.p.alive() and os.path.exists(self.socket))

    def stop(self):
        """All of it at once, as systemd does: by itself the authentication service waits for its clients to go."""
        if self.p.alive():
            os.killpg(self.p.p.pid, signal.SIGTERM)
        self.p.stop()
        kit.wait_until("Dovecot's socket to go", lambda: not os.path.exists(self.socket) or os.unlink(self.socket) is None)

    def log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()


PARAMS = """\
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_peername_lookup = no
"""


def setup(env, s, **kw):
    """Dovecot at the place of `smtpd_sasl_path = private/auth` of the running Signet `s`; returns when every worker has found it."""
    d = Dovecot(env, os.path.join(s.queue, "private", "auth"), **kw)
    wait_up(s)
    return d


def down(s):
    """How many connections of workers to authentication services are down."""
    def find(value):
        if isinstance(value, dict):
            return value.get("auth_services_down", 0) + sum(find(v) for v in value.values())
        return sum(find(v) for v in value) if isinstance(value, list) else 0
    return find(s.status())


def wait_up(s):
    kit.wait_until("all workers to reach Dovecot", lambda: down(s) == 0)


def announced(port=587, host="127.0.0.1"):
    """AUTH in clear or inside TLS, by whichever the port offers."""
    context = ssl._create_unverified_context()
    with (smtplib.SMTP_SSL(host, port, context=context, timeout=20) if port == 465 else smtplib.SMTP(host, port, timeout=20)) as c:
        c.ehlo()
        if port != 465 and "starttls" in c.esmtp_features:
            c.starttls(context=context)
            c.ehlo()
        return "auth" in c.esmtp_features
