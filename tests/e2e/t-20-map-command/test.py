"""signet map against postmap and postalias: what one builds the other reads, the same keys and values are listed."""
import os
import stat
import subprocess

import kit

TABLE = '''# a table
"first last"@example.com v1
Key  v2 trailing
foo bar
 # not the end
   baz
foo dup
a\\ b c d
@example.org\tx
nothing
'''
ALIASES = '''# aliases
root: admin
"Q R": |"cmd arg"
list:
  a@example.com,
 b
broken line
z: :include:/foo
'''


def run(env):
    kit.need("postmap", "postalias")
    s = env.signet("m", main_cf="", start=False)
    work = env.path("tables")
    os.makedirs(work, exist_ok=True)
    os.makedirs(s.data, exist_ok=True)
    # postmap becomes the owner of the source: give it a readable, minimal configuration of its own
    peer = env.path("peer")
    os.makedirs(peer, exist_ok=True)
    with open(os.path.join(peer, "main.cf"), "w") as f:
        f.write("compatibility_level = 3.6\nmyhostname = p.test\n")

    def postfix(*argv):
        return subprocess.run([argv[0], "-c", peer] + list(argv[1:]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=work).stdout

    def ours(*argv, status=0, link=None, stdin=None):
        exe = os.path.join(kit.BUILD, "src", "signet")
        if link:
            if not os.path.lexists(os.path.join(work, link)):
                os.symlink(exe, os.path.join(work, link))
            exe = os.path.join(work, link)
        first = ["-c", s.conf] if link else ["-c", s.conf, "map"]
        r = subprocess.run([exe] + first + list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work, input=stdin)
        kit.check(r.returncode == status, "%s: status %d, not %d: %s%s" % (argv, r.returncode, status, r.stdout, r.stderr))
        return r.stdout

    def table(name, text):
        with open(os.path.join(work, name), "w") as f:
            f.write(text)

    for name in ("mine", "theirs"):
        table(name, TABLE)
    for kind in ("cdb", "lmdb"):
        ours("build", kind + ":mine")
        postfix("postmap", kind + ":theirs")
        listed = sorted(postfix("postmap", "-s", kind + ":theirs").splitlines())
        kit.check(len(listed) == 5, listed)
        for got in (ours("list", kind + ":mine"), ours("list", kind + ":theirs"), postfix("postmap", "-s", kind + ":mine")):
            kit.check(sorted(got.splitlines()) == listed, "%s: %s is not %s" % (kind, got, listed))
        for key in ("KEY", "foo", '"first last"@example.com', "a\\ b", "nothing", "@example.org", "none"):
            want = postfix("postmap", "-q", key, kind + ":theirs")
            for made in ("mine", "theirs"):
                got = ours("query", key, "%s:%s" % (kind, made), status=0 if want else 1)
                kit.check(got == want, "%s of %s:%s: %r, not %r" % (key, kind, made, got, want))
    mode = stat.S_IMODE(os.stat(os.path.join(work, "mine.cdb")).st_mode)
    os.chmod(os.path.join(work, "mine"), 0o600)
    ours("build", "cdb:mine")
    kit.check(mode == 0o644 and stat.S_IMODE(os.stat(os.path.join(work, "mine.cdb")).st_mode) == 0o600, "as readable as the source")
    kit.check(not [n for n in os.listdir(work) if n.endswith(".tmp")], "nothing is left over")

    # aliases: the same keys
    table("al", ALIASES)
    table("al2", ALIASES)
    ours("cdb:al", link="postalias")
    postfix("postalias", "cdb:al2")
    keys = [line.split(":\t")[0] for line in ours("-s", "cdb:al", link="postalias").splitlines()]
    theirs = [line.split(":\t")[0] for line in postfix("postalias", "-s", "cdb:al2").splitlines() if line[0] not in "@Y"]
    kit.check(sorted(keys) == sorted(theirs), "%s is not %s" % (keys, theirs))
    kit.check(ours("-q", "q r", "cdb:al", link="postalias") == '|"cmd arg"\n', "quoted alias name")

    # who takes the order of Postfix's words for ours is told
    r = subprocess.run([os.path.join(kit.BUILD, "src", "signet"), "-c", s.conf, "map", "query", "cdb:al", "key"], stderr=subprocess.PIPE, text=True, cwd=work)
    kit.check(r.returncode == 1 and "the key comes first: signet map query KEY" in r.stderr, r.stderr)

    # hash: goes into our data directory, nothing beside the source
    before = set(os.listdir(work))
    ours("build", "hash:mine")
    kit.check(set(os.listdir(work)) == before, "hash: leaves nothing beside its source")
    kit.check(os.listdir(os.path.join(s.data, "maps")), "hash: is built in data_directory")
    kit.check(ours("query", "-", "hash:mine", "cdb:al", stdin="key\nno\nroot\n") == "key\tv2 trailing\nroot\tadmin\n", "keys from standard input")
    kit.check('"line": 3' in ours("query", "--json", "KEY", "texthash:mine"), "the line is known")
    s.set(main_cf="alias_database = hash:%s\n" % os.path.join(work, "al"))
    ours(link="newaliases")
    kit.check(any(n.endswith("al.aliases.cdb") for n in os.listdir(os.path.join(s.data, "maps"))), "newaliases builds alias_database")

    # what cannot be done is refused by name
    for argv, status in ((("-d", "key", "hash:mine"), 2), (("-i", "hash:mine"), 2), (("build", "regexp:mine"), 1), (("query", "k", "mysql:/x"), 1),
                         (("query", "k", "fail:x"), 75), (("build", "cdb:missing"), 1), (("frobnicate",), 2), ((), 2)):
        ours(*argv, status=status)
