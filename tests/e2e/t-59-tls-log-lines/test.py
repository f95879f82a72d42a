"""What TLS leaves in the log, line by line beside Postfix 3.10: both as clients of the same servers (Postfix, openssl s_server) at every
level and every feature word of smtp_tls_loglevel, both as servers of the same client at those of smtpd_tls_loglevel. Lines must be the
same; where they shall differ, DIFFERENCES says how and why, and a difference that no longer shows fails the test."""
import concurrent.futures
import re
import smtplib
import ssl

import kit
import tls_kit
import zones

LEVELS = ("0", "1", "2", "3", "4")
WORDS = ("untrusted", "peercert", "certmatch", "verbose", "cache", "dane", "ssl-debug", "summary")

# Every one: key, pattern of our line, what it is for the comparison (None: left out), and why we differ. The same for Postfix's below.
OURS = (
    ("tls=", r", tls=[^,]+(?=, dsn)", "", "Postfix has this field from 3.11 on"),
    ("ciphers", r'(TLS cipher list ").*"', r'\1..."', "levels above may refuse static RSA (20.19): another list"),
    ("names", r"(num=62:hostname mismatch) \(the chain is trusted; .*\)$", r"\1", "the names found and wanted are said (20.18)"),
    ("port", r"(session [^&]+&[^&]+&[^&]+&[\d.]+):\d+(&\d&&)[0-9a-f]{64}", r"\1\2KEY", "SRV records and smtp_tcp_port choose ports"),
    ("sni", r"^.*: SNI hostname: mx\.(?!dane\.|danebad\.|daneunus\.)\S+$", None, "SNI is sent at every level (20.11)"),
    ("qid", r"^QID: (?=warning: )", "", "a warning about a message's server carries its queue id"),
    ("where", r"^(warning: \S+?): (all TLSA records unusable)", r"\1[ADDR]:25: \2", "the host, for the policy is one of the name"),
    ("pin", r"^(certificate verification failed for mx\.badfp\.test\S+): not trusted by local or TLSA policy$",
     r"server \1: num=65:no matching DANE TLSA records", "a fingerprint is no TLSA record"),
    ("encrypt", r"^(Trusted)( TLS connection established to mx\.daneunus)|(session \S+&mx\.daneunus\.test&[\d.]+&)2(&&KEY)",
     lambda m: "Untrusted" + m[2] if m[1] else m[3] + "5" + m[4], "records that nobody can use: the level is encrypt, which trusts a good chain"),
)
THEIRS = (
    ("ciphers", r'(TLS cipher list ").*"', r'\1..."', ""),
    ("port", r"(session [^&]+&[^&]+&[^&]+&[\d.]+)(&\d&&)[0-9A-F]{64}", r"\1\2KEY", ""),
    ("where", r"^(warning: [^\[]+)\[[\d.]+\](:25: all TLSA records unusable)", r"\1[ADDR]\2", ""),
    ("digest", r"^(fingerprint: digest as private-use|TA cert as) TLSA record: .*$", None, "no TLSA records are made of fingerprints and anchors"),
    ("text", r"^(Read|Write) \d+ chars: .*$", None, "what is said under TLS, passwords too, is in no log of ours"),
    ("once", r"^initializing the client-side TLS engine$", None, "Signet's engine begins with the process"),
    ("unnamed", r"^server certificate verification failed for mx\.daneunus\S+: num=62:.*$", None, "encrypt asks for no name (RFC 7672 2.2)"),
)

SERVER_OURS = (
    ("ciphers", r'(TLS cipher list ").*"', r'\1..."', "no suite without encryption is ever offered (20.12)"),
    ("expiry", r"(session ticket, key expiration: )\d+$", r"\1T", "Postfix's key encrypts for half of its time"),
    ("sni", r"( from \S+) to mx\.test(: TLSv)", r"\1\2", "since 3.12 also a name without an entry is said"),
)
SERVER_THEIRS = (
    ("ciphers", r'(TLS cipher list ").*"', r'\1..."', ""),
    ("expiry", r"(session ticket, key expiration: )\d+$", r"\1T", ""),
    ("once", r"^initializing the server-side TLS engine$", None, "Signet's engine begins with the process"),
)


def expired(env):
    """A certificate of the CA that ended in 2021."""
    env.write("ca.cnf", "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nserial=serial.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
              "x509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:mx.expired.test\n")
    env.write("index.txt", "")
    env.write("serial.txt", "77\n")
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "expired.key", "-out", "expired.csr",
                "-subj", "/CN=mx.expired.test")
    env.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "expired.csr", "-out", "expired.pem",
                "-startdate", "200101000000Z", "-enddate", "210101000000Z")
    return env.path("expired.pem"), env.path("expired.key")


def nameless(env):
    """A certificate whose subject has no CN, of an authority that has none."""
    def new(name, *more):
        env.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".pem",
                    "-days", "20", "-subj", "/O=Organisation " + name, *more)
    new("o")
    env.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "nocn.key", "-out", "nocn.csr", "-subj", "/O=Nameless")
    ext = env.write("nocn.ext", "subjectAltName=DNS:mx.nocn.test\n")
    env.openssl("x509", "-req", "-in", "nocn.csr", "-CA", "o.pem", "-CAkey", "o.key", "-CAcreateserial", "-out", "nocn.pem", "-extfile", ext, "-days", "20")
    with open(env.ca(), "a") as f:
        f.write(open(env.path("o.pem")).read())
    return env.path("nocn.pem"), env.path("nocn.key")


def resolver(env):
    """unbound, which validates, for Postfix; Signet has its own."""
    anchor = re.search("dnssec_trust_anchor_files = (.*)", env.dns_params).group(1)
    env.write("unbound/hints", ". 3600 NS ns.\nns. 3600 A 127.0.0.53\n")
    conf = env.write("unbound/conf", """\
server:
 interface: 127.0.0.54
 username: ""
 chroot: ""
 directory: "{0}"
 pidfile: ""
 use-syslog: no
 logfile: "{0}/log"
 do-not-query-localhost: no
 local-zone: "test." nodefault
 trust-anchor-file: "{1}"
 root-hints: "{0}/hints"
remote-control:
 control-enable: no
""".format(env.path("unbound"), anchor))
    p = kit.Process(env, ["unbound", "-d", "-c", conf], "unbound")
    kit.wait_until("unbound to answer", lambda: p.alive() and env._udp_answers("127.0.0.54", 53))
    return env.write("unbound/resolv.conf", "nameserver 127.0.0.54\n")


class Servers:
    """Postfix's smtpd at one address for each domain, with what the two clients are told about it."""
    def __init__(self, env):
        self.env, self.records, self.masters, self.policy = env, [], [], []

    def domain(self, name, pair, policy, tlsa=(), options=""):
        address = "127.0.1.%d" % (len(self.masters) + 1)
        self.records += ["%s. MX 10 mx.%s." % (name, name), "mx.%s. A %s" % (name, address)]
        self.records += ["_25._tcp.mx.%s. TLSA %s" % (name, t) for t in tlsa]
        self.masters.append("%s:25 inet n - n - - smtpd\n -o smtpd_tls_chain_files=%s,%s\n%s" % (address, pair[1], pair[0], options))
        self.policy.append("%s %s" % (name, policy))

    def start(self):
        self.env.postfix("mx", "relay_domains = static:all\nrelay_transport = discard:\nrelay_recipient_maps =\nsmtpd_tls_security_level = may\n"
                         "smtpd_recipient_restrictions = permit_mynetworks, reject\n", "\n".join(self.masters) + "\n", smtp="127.0.1.100:25")


def lines_of(log, tag):
    """The lines that a service wrote, without time, process and what cannot be the same twice."""
    got = []
    for line in re.findall(r" %s/smtpd?\[\d+\]: (.*)" % tag, log):
        line = re.sub(r"^[0-9A-Za-z]{6,}: (?=to=|warning)", "QID: ", line)
        line = re.sub(r", delay=.*, delays=[^,]*", "", line)
        got.append(re.sub(r"(250 2\.0\.0 Ok).*", r"\1)", line))
    return got


def apply(rules, lines, used):
    out = []
    for line in lines:
        for key, pattern, to, _ in rules:
            if re.search(pattern, line):
                used.add(key)
                line = None if to is None else re.sub(pattern, to, line)
            if line is None:
                break
        if line is not None:
            out.append(line)
    return out


# Warnings about records come when the policy is decided, before there is a connection; what the library says of a chain comes
# when the handshake is over (doc/design/004): these, and the library's own steps, are compared by themselves.
KINDS = (r"^warning: ", r": depth=\d", r"^SSL_(connect|accept):|^SSL3 alert")


def kinds(lines):
    rest = [line for line in lines if not any(re.search(k, line) for k in KINDS)]
    return [[line for line in lines if re.search(k, line)] for k in KINDS] + [rest]


def same(what, theirs, ours):
    for t, o in zip(theirs, ours):
        kit.check(t == o, "%s:\n--- Postfix\n%s\n--- Signet\n%s" % (what, "\n".join(t), "\n".join(o)))


class Clients:
    def __init__(self, env, servers):
        self.env = env
        services = "".join("l%s unix - - n - - smtp\n -o smtp_tls_loglevel=%s\n -o syslog_name=l%s\n" % (w, w, w) for w in LEVELS + WORDS)
        services += "wrap unix - - n - - smtp\n -o smtp_tls_loglevel=2\n -o syslog_name=lwrap\n -o smtp_tls_wrappermode=yes\n"
        names = [p.split()[0] for p in servers.policy]
        conf = """\
smtp_tls_security_level = may
smtp_tls_policy_maps = texthash:%s
smtp_tls_CAfile = %s
smtp_tls_note_starttls_offer = yes
smtp_tls_fingerprint_digest = sha256
transport_maps = texthash:%s
minimal_backoff_time = 600s
queue_run_delay = 600s
smtp_dns_support_level = dnssec
""" % (env.write("policy", "\n".join(servers.policy) + "\n[mx.wrap.test]:4465 encrypt\n[mx.wrap.test]:4466 encrypt\n"), env.ca(),
            env.write("transport", "".join("%s@%s l%s:\n" % (w, n, w) for n in names for w in LEVELS + WORDS + ("maps", "dump", "trace")) +
                      "pf@wrap.test wrap:[mx.wrap.test]:4465\ngw@wrap.test wrap:[mx.wrap.test]:4466\n"))
        ours = """\
lmaps unix - - n - - smtp
 -o syslog_name=lmaps
 -o { smtp_tls_loglevel_maps = inline:{ { mx.good.test = summary } { 127.0.1.2 = peercert } { mx.enc.test = loud } } }
ltrace unix - - n - - smtp
 -o syslog_name=ltrace
 -o smtp_tls_loglevel=trace
ldump unix - - n - - smtp
 -o syslog_name=ldump
 -o smtp_tls_loglevel=3
 -o smtp_tls_trace_size_limit=100
"""
        self.signet = env.signet("gw", conf, kit.MASTER_CF.format(smtp="127.0.0.1:25") + services + ours)
        self.postfix = env.postfix("pf", conf + "smtp_tls_session_cache_database = btree:${data_directory}/sessions\n", services,
                                   smtp="127.0.0.1:2500", start=False)
        self.start_postfix(resolver(env))
        self.used, self.field = set(), {}
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def start_postfix(self, resolv_conf):
        """Its resolver is that of the system: in a mount namespace of its own."""
        p = self.postfix
        kit.sh("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && MAIL_CONFIG="$1" postfix -c "$1" start', resolv_conf, p.conf)
        self.env.at_end(p.stop)
        kit.wait_until("postfix pf", lambda: "daemon started" in p.log())

    @staticmethod
    def deliver(mta, port, rcpt, tag):
        since = mta.mark()
        qid = kit.queue_id(kit.send(port=port, rcpts=rcpt))
        mta.wait_log(r"%s: to=<.*status=.*\n" % qid, since)     # all of the line
        return lines_of(mta.log()[since:], tag)

    def theirs(self, rcpt, tag):
        return apply(THEIRS, self.deliver(self.postfix, 2500, rcpt, tag), self.used)

    def ours(self, rcpt, tag):
        lines = self.deliver(self.signet, 25, rcpt, tag)
        field = re.search(r", tls=([^,]+), dsn", lines[-1])
        self.field.setdefault(rcpt.split("@")[1], set()).add(field and field[1])
        return apply(OURS, lines, self.used)

    def compare(self, name, word):
        rcpt = "%s@%s" % (word, name)
        theirs = self.pool.submit(self.theirs, rcpt, "l" + word)
        ours = self.ours(rcpt, "l" + word)
        theirs = theirs.result()
        kit.check(any("status=" in line for line in ours), "%s: %s" % (rcpt, ours))
        t, o = kinds(theirs), kinds(ours)
        t[1], o[1] = self.chain(name, t[1]), self.chain(name, o[1])
        same(rcpt, t, o)

    def chain(self, name, lines):
        """depth= lines: names and fingerprints are looked at behind the chain, so a wrong one is no error of it; pins need no chain."""
        if name in ("fp.test", "badfp.test"):
            return []
        if name in ("wrong.test", "daneunus.test"):
            return [line for line in lines if "verify=1" in line]
        return lines


def client(env):
    servers = Servers(env)
    ca = env.ca()
    many = env.cert("good", sans=["mx.%s.test" % n for n in ("good", "none", "may", "enc", "fp", "badfp")] + ["sec.test"])
    wrong, nobody = env.cert("other.test"), env.cert("any.invalid", ca=None)
    servers.domain("none.test", many, "none")
    servers.domain("may.test", many, "may")
    servers.domain("maydoe.test", env.cert("mx.maydoe.test", ca="doe"), "may")
    servers.domain("enc.test", many, "encrypt")
    servers.domain("bare.test", many, "may", options=" -o smtpd_tls_security_level=none\n")
    servers.domain("must.test", many, "encrypt", options=" -o smtpd_tls_security_level=none\n")
    servers.domain("fails.test", many, "encrypt protocols=>=TLSv1.3", options=" -o smtpd_tls_protocols=<=TLSv1.2\n")
    servers.domain("old.test", many, "may", options=" -o smtpd_tls_protocols=<=TLSv1.2\n")
    servers.domain("good.test", many, "verify")
    servers.domain("wrong.test", wrong, "verify")
    servers.domain("doe.test", env.cert("mx.doe.test", ca="doe"), "verify")
    servers.domain("self.test", env.cert("mx.self.test", ca=None), "verify")
    servers.domain("expired.test", expired(env), "verify")
    servers.domain("sec.test", many, "secure")
    servers.domain("fp.test", many, "fingerprint match=%s" % env.fingerprint(many[0]))
    servers.domain("badfp.test", many, "fingerprint match=%s" % env.fingerprint(wrong[0]))
    servers.domain("ta.test", env.cert("mx.ta.test", ca="doe"), "secure match=mx.ta.test tafile=" + env.write("gw/etc/ta.pem", open(env.ca("doe")).read()))
    servers.domain("nocn.test", nameless(env), "verify")
    servers.domain("dane.test", nobody, "dane", [zones.tlsa(env, nobody[0])])
    servers.domain("danebad.test", nobody, "dane", [zones.tlsa(env, many[0])])
    servers.domain("danenone.test", many, "dane")
    servers.domain("daneunus.test", many, "dane", ["3 7 1 " + "00" * 32])
    servers.records += ["mx.wrap.test. A 127.0.1.101"]
    zones.Tree(env).zone("test.", servers.records).start()
    servers.start()
    c = Clients(env, servers)
    for name in [p.split()[0] for p in servers.policy]:
        for word in ("1", "2") if name in ("enc.test", "old.test", "good.test", "sec.test", "fp.test", "ta.test", "nocn.test", "danenone.test") else ("0", "1", "2"):
            c.compare(name, word)       # the lines of level 0 are those of failures
    for word in WORDS:
        for name in ("doe.test", "dane.test"):
            c.compare(name, word)
    c.compare("maydoe.test", "untrusted")
    resumed(c)
    wrapped(env, c, many)
    dumps(c)
    fields(c)
    only_ours(c)
    unused = {r[0] for r in OURS + THEIRS} - c.used
    kit.check(not unused, "differences that do not show any more: %s" % unused)


def resumed(c):
    """A session that is resumed, TLS 1.2 and 1.3; the untrusted one says where to look. Each smtpc has a cache of its own."""
    def until(rcpt, tag, sign):
        return kit.wait_until("a resumed session for " + rcpt, lambda: [x for x in [c.ours(rcpt, tag)] if any(sign in line for line in x)])[0]

    for rcpt, sign in (("2@old.test", "reloaded session"), ("2@may.test", "reloaded session"), ("2@dane.test", "reloaded session"),
                       ("untrusted@maydoe.test", "re-using session with untrusted")):
        tag = "l" + rcpt.split("@")[0]
        # Postfix remembers TLSA records, and tells them when they were looked up; here the resolver does, and each decision tells its records
        theirs, ours = [[line for line in x if not line.startswith("DNSSEC-signed")] for x in (c.theirs(rcpt, tag), until(rcpt, tag, sign))]
        same("resumed " + rcpt, kinds(theirs), kinds(ours))


def wrapped(env, c, pair):
    """openssl s_server, TLS from the first byte: one for each client."""
    for port in (4465, 4466):
        tls_kit.SServer(env, "127.0.1.101", port, *pair)
        kit.wait_until("s_server", lambda: ":%04X" % port in open("/proc/net/tcp").read())
    theirs, ours = c.theirs("pf@wrap.test", "lwrap"), [line.replace(":4466", ":4465") for line in c.ours("gw@wrap.test", "lwrap")]
    # s_server sends two tickets, of which we keep the first
    theirs = [line for i, line in enumerate(theirs) if line not in theirs[:i] or not line.startswith("save session")]
    same("s_server", *[kinds([re.sub(r"to=<..@", "to=<", line) for line in x if "SNI hostname" not in line]) for x in (theirs, ours)])


ROW = r"^[0-9a-f]{4} ([0-9a-f]{2}[ |]){1,16} +.{1,17}$"


def dumps(c):
    """Level 3 dumps the handshake, level 4 also what follows; row by row as Postfix does. Our lines above a row name no addresses of memory."""
    for word, all_of_it in (("3", False), ("4", True)):
        theirs, ours = c.theirs(word + "@may.test", "l" + word), c.ours(word + "@may.test", "l" + word)
        for lines in (theirs, ours):
            done = next(i for i, line in enumerate(lines) if " TLS connection established" in line)
            rows = [i for i, line in enumerate(lines) if re.match(ROW, line)]
            kit.check(rows and rows[0] < done, "a dump of the handshake: %s" % lines)
            kit.check((rows[-1] > done + 20) == all_of_it, "%s: what follows is %s: %s" % (word, all_of_it, lines))
            kit.check(any(line.startswith("0000 16 03 01 ") for line in lines), "the ClientHello: %s" % lines)
        bare = [[line for line in x if not re.match(ROW + r"|^[0-9a-f]{4} - <SPACES/NULLS>|^(read|write) ", line)] for x in (theirs, ours)]
        same("beside the dump", kinds(bare[0]), kinds(bare[1]))


def fields(c):
    """tls= (section 13.3): what was asked, what came of it."""
    for name, want in (("none", "none"), ("may", "may"), ("enc", "encrypt"), ("bare", "may:none"), ("must", "!encrypt"), ("fails", "!encrypt"),
                       ("good", "verify"), ("wrong", "!verify"), ("sec", "secure"), ("ta", "secure"), ("fp", "fingerprint"), ("badfp", "!fingerprint"),
                       ("dane", "dane"), ("danebad", "!dane"), ("danenone", "dane:may"), ("daneunus", "dane:encrypt")):
        got = c.field[name + ".test"]
        kit.check(got == {want}, "%s: tls=%s, not %s" % (name, got, want))


def only_ours(c):
    """What Postfix has from 3.12 on: smtp_tls_loglevel_maps by name and by address, and the limits of dumps."""
    for name, want in (("good", ["Verified TLS connection established to mx.good.test"]), ("may", ["mx.may.test[127.0.1.2]:25: subject_CN=good"]),
                       ("enc", ['warning: smtp_tls_loglevel_maps: mx.enc.test: unknown TLS log level or feature "loud"']), ("sec", [])):
        lines = c.ours("maps@%s.test" % name, "lmaps")[:-1]
        kit.check(len(lines) == len(want) and all(line.startswith(w) for line, w in zip(lines, want)), "%s: %s" % (name, lines))
    lines = c.ours("dump@may.test", "ldump")
    kit.check(len([line for line in lines if re.match(ROW, line)]) == 7, "smtp_tls_trace_size_limit: 100 bytes are seven rows: %s" % lines)
    kit.check(any("the limit is reached" in line for line in lines), lines)
    lines = c.ours("trace@may.test", "ltrace")
    text = "\n".join(lines)
    for word in ("Sent:\\n *ClientHello", "server_name", "Received:\\n *ServerHello", "EncryptedExtensions", "Certificate", "Subject: CN ?= ?good", "Finished", "close notify"):
        kit.check(re.search(word, text), "trace: no %s in %s" % (word, text))
    kit.check("MAIL FROM" not in text and "RCPT TO" not in text, "nothing that is said under TLS: %s" % text)

    def burst():
        since = c.signet.mark()
        qids = [kit.queue_id(kit.send(rcpts="dump@may.test")) for _ in range(6)]
        for qid in qids:
            c.signet.wait_log(r"%s: to=<.*status=sent" % qid, since)
        return c.signet.has_log(r"ldump/smtp\[\d+\]: mx\.may\.test\[127\.0\.1\.2\]:25: no dump of this session: tls_trace_rate_limit is 1", since)
    kit.wait_until("a session over tls_trace_rate_limit", burst)


class OneClient:
    """Python's ssl against both servers: what each wrote about it."""
    def __init__(self, env):
        self.env = env
        pair = env.cert("mx.test", sans=["mx.test"])
        other = env.cert("other.test")
        table = env.write("sni", "other.test %s %s\n" % (other[1], other[0]), 0o600)
        kit.sh("postmap", "-F", "hash:" + table)
        main = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = %s, %s
smtpd_tls_CAfile = %s
smtpd_tls_received_header = yes
tls_server_sni_maps = hash:%s
smtpd_peername_lookup = no
""" % (pair[1], pair[0], env.ca(), table)
        words = [(w, w, "") for w in LEVELS + WORDS] + [("ask" + w, w, " -o smtpd_tls_ask_ccert=yes\n") for w in ("1", "2", "untrusted", "peercert")]
        words += [("req", "1", " -o smtpd_tls_req_ccert=yes\n -o smtpd_tls_security_level=encrypt\n")]
        old = (" -o smtpd_tls_ask_ccert=yes\n -o compatibility_level=3.5\n -o smtpd_delay_reject=no\n"
               " -o { smtpd_helo_restrictions = check_ccert_access inline:{ { x = OK } } }\n")
        words += [("md5", "peercert", old), ("md5said", "peercert", old + " -o smtpd_tls_fingerprint_digest=md5\n")]
        self.port = {w[0]: i for i, w in enumerate(words)}
        lines = "".join("127.0.0.1:%%d%02d inet n - n - - smtpd\n -o syslog_name=%s\n -o smtpd_tls_loglevel=%s\n%s" % (i, name, level, more)
                        for i, (name, level, more) in enumerate(words))
        ours = "127.0.0.1:3090 inet n - n - - smtpd\n -o syslog_name=smaps\n -o { smtpd_tls_loglevel_maps = inline:{ { 127.0.0.1 = summary } { 127.0.0.9 = 3 } } }\n"
        self.signet = env.signet("sgw", main, kit.MASTER_CF.format(smtp="127.0.0.1:2600") + re.sub("%d", "30", lines) + ours)
        self.port["smaps"] = 90
        self.postfix = env.postfix("spf", main, re.sub("%d", "31", lines), smtp="127.0.0.1:2700")
        self.used = set()

    def lines(self, mta, base, name, talk):
        since = mta.mark()
        talk(base * 100 + self.port[name])
        mta.wait_log(r" %s/smtpd\[\d+\]: disconnect from .*\n" % name, since)
        return lines_of(mta.log()[since:], name)

    def compare(self, what, name, talk):
        theirs = apply(SERVER_THEIRS, self.lines(self.postfix, 31, name, talk), self.used)
        ours = apply(SERVER_OURS, self.lines(self.signet, 30, name, talk), self.used)
        kit.check(theirs[0].startswith("connect from") and theirs[-1].startswith("disconnect from"), theirs)
        if what == "resumed":           # a ticket of TLS 1.3 is for one use: ours comes with the next one
            ours = [line for line in ours if not re.search("Issuing session ticket|TLS write session ticket", line)]
        if name == "req":               # Postfix hangs up with 421 (4.7.1); we refuse every command but QUIT with 554 (RFC 3207 4.1)
            kit.check(any(line.startswith("NOQUEUE: abort: TLS from unknown[127.0.0.1]: ") for line in ours), ours)
            theirs, ours = theirs[:-1], ours[:-1]
        same("%s, smtpd_tls_loglevel = %s" % (what, name), kinds(theirs), kinds(ours))


def talker(ca, version=None, pair=None, sni="mx.test", fail=None, session=None):
    ctx = ssl.create_default_context(cafile=ca)
    ctx.check_hostname = False
    if pair:
        ctx.load_cert_chain(*pair)
    if version:
        ctx.minimum_version = ctx.maximum_version = version

    def talk(port):
        with smtplib.SMTP("127.0.0.1", port, local_hostname="c.test", timeout=20) as c:
            c.ehlo()
            kit.check(c.docmd("STARTTLS")[0] == 220, "STARTTLS")
            if fail:
                c.sock.sendall(fail)
                try:
                    c.sock.recv(100)
                except ConnectionResetError:
                    pass
                return
            try:
                c.sock = ctx.wrap_socket(c.sock, server_hostname=sni, session=(session or {}).get(port))
            except ssl.SSLError:
                return
            c.file = None
            if c.ehlo()[0] != 250:
                try:
                    c.docmd("QUIT")
                except smtplib.SMTPServerDisconnected:
                    pass
                return
            c.docmd("NOOP")
            if session is not None:
                session[port] = c.sock.session
            c.docmd("QUIT")
    return talk


def md5(env, c, pair):
    """Fingerprints by md5 because compatibility_level is old: said once by each process, when one is looked up; ours when there is one."""
    want = "using backwards-compatible default setting smtpd_tls_fingerprint_digest=md5 to compute certificate fingerprints"
    for name, said in (("md5", True), ("md5said", False)):
        for mta, base in ((c.postfix, 31), (c.signet, 30)):
            lines = c.lines(mta, base, name, talker(env.ca(), pair=pair, sni="other.test"))
            kit.check((want in lines) == said, "%s %s: %s" % (mta.name, name, lines))


def server(env):
    c = OneClient(env)
    ca, doe = env.ca(), env.ca("doe")
    good, stranger = env.cert("c.test"), env.cert("c.test", ca="doe")
    for level in ("0", "1", "2"):
        c.compare("nobody", level, talker(ca))
        c.compare("a name with an entry", level, talker(ca, sni="other.test"))
        c.compare("a client that does not trust us", level, talker(doe))
        c.compare("no TLS", level, talker(ca, fail=b"QUIT\r\nQUIT\r\n"))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        talk = talker(ca, version, sni="other.test", session={})
        c.compare("new", "2", talk)
        c.compare("resumed", "2", talk)
    for name in ("ask1", "ask2", "askuntrusted", "askpeercert"):
        c.compare("no certificate", name, talker(ca))
        c.compare("a good certificate", name, talker(ca, pair=good))
        c.compare("a certificate of somebody's", name, talker(ca, pair=stranger))
    talk = talker(ca, pair=stranger, sni="other.test", session={})
    c.compare("an untrusted session", "askuntrusted", talk)
    c.compare("resumed", "askuntrusted", talk)
    c.compare("no certificate where one is required", "req", talker(ca))
    c.compare("an untrusted one where one is required", "req", talker(ca, pair=stranger))
    for word in WORDS:
        c.compare("nobody", word, talker(ca))
    md5(env, c, good)
    lines = c.lines(c.signet, 30, "smaps", talker(ca, sni="other.test"))
    kit.check(len(lines) == 3 and lines[1].startswith("Anonymous TLS connection"), "smtpd_tls_loglevel_maps: %s" % lines)
    unused = {r[0] for r in SERVER_OURS + SERVER_THEIRS} - c.used
    kit.check(not unused, "differences that do not show any more: %s" % unused)


def run(env):
    client(env)
    server(env)
