"""Without maillog_file the log goes to the syslog socket, with the facility of syslog_facility; a log file stands where maillog_file_prefixes allow it."""
import os
import socket

import kit

ENTER = """set -e
for f in null zero full random urandom; do touch {d}/$f; mount --bind /dev/$f {d}/$f; done
mount --rbind {d} /dev
exec "$0" "$@"
"""


def run(env):
    if os.geteuid() != 0:
        raise kit.Skipped("a mount namespace needs root")
    d = env.path("dev")
    os.makedirs(d)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(os.path.join(d, "log"))
    os.chmod(os.path.join(d, "log"), 0o666)
    log.settimeout(kit.DEADLINE)
    for facility, number in (("mail", 2), ("local3", 19)):
        s = env.signet("mta", "maillog_file =\nsyslog_facility = %s\n" % facility, start=False)
        p = kit.Process(env, ["unshare", "-m", "sh", "-c", ENTER.format(d=d), os.path.join(kit.BUILD, "src", "signetd"), "-c", s.conf], "signetd-" + facility)
        while True:
            line = log.recv(4000).decode()
            kit.check(line.startswith("<"), line)
            priority = int(line[1:line.index(">")])
            kit.check(priority >> 3 == number, "%s: %s" % (facility, line))
            if "daemon started" in line:
                kit.check("signet/master[" in line and priority & 7 == 6, line)
                break
        kit.check(p.stop() == 0, p.text())
        log.settimeout(0.1)
        try:
            while log.recv(4000):
                pass
        except socket.timeout:
            log.settimeout(kit.DEADLINE)
    s = env.signet("other", "maillog_file_prefixes = /var, /dev/stdout\n", start=False)
    p = kit.Process(env, [os.path.join(kit.BUILD, "src", "signetd"), "-c", s.conf], "signetd-other")
    kit.wait_until("the refusal", lambda: "begins with none of maillog_file_prefixes" in p.text())
    kit.check(not os.path.exists(s.maillog), "no file was made")
