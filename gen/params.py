#!/usr/bin/env python3
"""Everything that is generated from table/params.tab and table/words.tab.

  params.py header TAB OUT      struct params (src/lib/conf/params.h)
  params.py table TAB OUT       the rows as C (src/lib/conf/params_table.c)
  params.py words WORDS OUT     restrictions and table types (table/words.tab) as C
  params.py man TAB OUT         signet.conf(5), with the words beside TAB
  params.py check TAB           rows without text, `works` rows that no code reads or no test names; exit 1 when there are any
"""
import os
import re
import sys

COLUMNS = ["name", "type", "default", "values", "unit", "state", "risk", "roles", "since", "text"]
TYPES = {
    "bool": ("bool ", "BOOL"),
    "int": ("int ", "INT"),
    "time": ("int64_t ", "TIME"),
    "size": ("uint64_t ", "SIZE"),
    "string": ("const char *", "STRING"),
    "raw": ("const char *", "STRING"),
    "list": ("const char *", "LIST"),
    "map-list": ("const char *", "MAP_LIST"),
    "path": ("const char *", "PATH"),
    "enum": ("const char *", "ENUM"),
    "restriction": ("const char *", "RESTRICTION"),
}
UNITS = {"time": ("_ms", "ms"), "size": ("", "bytes")}
STATES = {"works": "WORKS", "partial": "PARTIAL", "not-yet": "NOT_YET", "obsolete": "OBSOLETE"}
RISKS = {"protects": "PROTECTS", "delivers": "DELIVERS", "cosmetic": "COSMETIC"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
INT_MAX = 2147483647


def die(line, text):
    sys.exit("table/params.tab:%d: %s" % (line, text))


class Row:
    """One parameter: the columns, and what follows from them."""

    def __init__(self, line, fields):
        self.line = line
        self.mirror = ""
        self.auto = False
        self.pattern = "*" in fields[0]
        for column, field in zip(COLUMNS, fields):
            setattr(self, column, field)
        if self.type.startswith("mirror:"):
            self.mirror = self.type[7:]
        if self.type.startswith("pattern"):
            self.type = self.type[8:] or "string"
            if not self.pattern:
                die(line, "%s: a pattern needs a *" % self.name)
        self.raw = self.type == "raw"
        self.computed = self.default == "(computed)"
        if self.default in ('""', "(computed)"):
            self.default = ""

    def check(self):
        if self.type not in TYPES:
            die(self.line, "%s: no such type: %s" % (self.name, self.type))
        if self.state not in STATES or self.risk not in RISKS:
            die(self.line, "%s: no such state or risk: %s %s" % (self.name, self.state, self.risk))
        if self.unit != UNITS.get(self.type, ("", "-"))[1]:
            die(self.line, "%s: unit %s does not belong to type %s" % (self.name, self.unit, self.type))
        if len(self.text) < 5:
            die(self.line, "%s: no text" % self.name)

    def member(self):
        name = "p_" + self.name if self.name[0].isdigit() else self.name
        return name + UNITS.get(self.type, ("", ""))[0]

    def time_unit(self):
        match = re.search(r"([smhdw])$", self.default)
        return match.group(1) if self.type == "time" and match else "s"

    def limits(self):
        match = re.match(r"^(-?\d+)\.\.(\d*)$", self.values)
        top = {"int": INT_MAX, "time": INT_MAX, "size": (1 << 62)}.get(self.type, 0)
        if not match:
            return (0, top)
        return (int(match.group(1)), int(match.group(2)) if match.group(2) else top)

    def words(self):
        return "" if self.values == "-" or ".." in self.values else self.values.replace('""', "")


def resolve_mirror(row, by_name):
    target = by_name.get(row.mirror)
    if target is None:
        die(row.line, "%s mirrors %s, which is no parameter" % (row.name, row.mirror))
    row.type, row.unit = target.type, target.unit
    if row.values == "-":
        row.values = target.values


def auto_mirror(row):
    def swap(text):
        return re.sub(r"(?<![A-Za-z0-9_])smtp_", "lmtp_", text)
    fields = [getattr(row, column) for column in COLUMNS]
    made = Row(row.line, fields)
    made.name, made.default, made.mirror, made.auto = swap(row.name), swap(row.default), row.name, True
    made.text = "As %s, for LMTP" % row.name
    return made


def read(path):
    rows, lone = [], set()
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        if line.startswith("nomirror "):
            lone.update(line.split()[1:])
            continue
        fields = re.split(r"\s{2,}|\t+", line)
        if len(fields) != len(COLUMNS):
            die(number, "%d columns instead of %d" % (len(fields), len(COLUMNS)))
        rows.append(Row(number, fields))
    by_name = {}
    for row in rows:
        if row.name in by_name:
            die(row.line, "%s stands here twice" % row.name)
        by_name[row.name] = row
    mirrored = set()
    for row in rows:
        if row.mirror:
            resolve_mirror(row, by_name)
            mirrored.add(row.mirror)
    for row in list(rows):
        if row.name.startswith("smtp_") and row.name not in lone and row.name not in mirrored:
            rows.append(auto_mirror(row))
    for row in rows:
        row.check()
    return rows


def write(path, text):
    with open(path, "w", encoding="ascii") as out:
        out.write(text)


def has_member(row):
    return not row.pattern and not row.mirror


def header(rows):
    out = ["/* The value of every parameter, for one service. Generated from table/params.tab by gen/params.py. */",
           "#pragma once", "", "#include <stdbool.h>", "#include <stdint.h>", "", "struct params {"]
    for row in sorted((row for row in rows if has_member(row)), key=lambda row: row.name):
        out.append("\t%s%s;" % (TYPES[row.type][0], row.member()))
    return "\n".join(out + ["};", ""])


def c_string(text):
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")


def c_row(row, mirror_of):
    low, high = row.limits()
    member = mirror_of[row.mirror].member() if row.mirror else row.member()
    fields = [".name = " + c_string(row.name), ".type = PARAM_" + TYPES[row.type][1], ".def = " + c_string(row.default),
              ".words = " + c_string(row.words()), ".min = %d" % low, ".max = %d" % high, ".unit = '%s'" % row.time_unit(),
              ".state = PARAM_" + STATES[row.state], ".risk = PARAM_" + RISKS[row.risk], ".roles = " + c_string(row.roles),
              ".since = " + c_string(row.since), ".text = " + c_string(row.text),
              ".offset = " + ("PARAM_NO_MEMBER" if row.pattern else "offsetof(struct params, %s)" % member)]
    fields += [".%s = true" % flag for flag in ("computed", "pattern", "raw") if getattr(row, flag)]
    if row.mirror:
        fields.append(".mirror = " + c_string(row.mirror))
    return "\t{ " + ", ".join(fields) + " },"


def table(rows):
    by_name = {row.name: row for row in rows}
    rows = sorted(rows, key=lambda row: row.name.encode())
    out = ["/* Every parameter, sorted by name. Generated from table/params.tab by gen/params.py. */",
           '#include "conf/table.h"', "", "#include <stddef.h>", "", '#include "conf/params.h"', "",
           "const struct param_row param_rows[] = {"]
    out += [c_row(row, by_name) for row in rows]
    return "\n".join(out + ["};", "", "const size_t param_count = %d;" % len(rows), ""])


WORD_COLUMNS = ["kind", "word", "argument", "state", "text"]
ARGUMENTS = {"-": "ALONE", "table": "TABLE", "text": "TEXT"}


def read_words(path):
    words = []
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        fields = re.split(r"\s{2,}|\t+", line)
        word = dict(zip(WORD_COLUMNS, fields))
        if len(fields) != len(WORD_COLUMNS) or word["argument"] not in ARGUMENTS or word["state"] not in STATES \
                or word["kind"] not in ("restriction", "table"):
            sys.exit("table/words.tab:%d: not kind, word, argument, state, text" % number)
        words.append(word)
    return words


def words_table(words):
    out = ["/* Words with a state of their own. Generated from table/words.tab by gen/params.py. */", '#include "conf/words.h"']
    for kind, name in (("restriction", "word_restriction"), ("table", "word_table_type")):
        rows = [w for w in words if w["kind"] == kind]
        out += ["", "const struct word_row %ss[] = {" % name]
        out += ["\t{ %s, WORD_%s, PARAM_%s, %s }," % (c_string(w["word"]), ARGUMENTS[w["argument"]], STATES[w["state"]],
                                                    c_string(w["text"])) for w in rows]
        out += ["};", "", "const size_t %s_count = %d;" % (name, len(rows))]
    return "\n".join(out + [""])


MAN_HEAD = r'''.\" Generated from table/params.tab by gen/params.py.
.TH SIGNET.CONF 5 "" "Signet" "Configuration"
.SH NAME
signet.conf \- parameters of Signet's main.cf
.SH SYNOPSIS
.nf
\fIDIR\fR/main.cf     name = value
\fIDIR\fR/master.cf   service type private unpriv chroot wakeup maxproc command args
.fi
.ad l
.SH DESCRIPTION
Signet reads the configuration files of Postfix. A line of main.cf is
.IR "name = value" ;
a line that begins with blanks continues the one before, empty lines and lines whose first visible character is
.B #
are skipped, also between continuation lines. The last definition of a name wins.
.PP
A value may refer to others:
.B $name
and
.BR ${name} ,
.B ${name?{a}:{b}}
(a if the value of name is not empty, else b),
.BR ${name?a} ,
.BR ${name:b} ,
and comparisons
.B ${{$x} == {y} ? {a} : {b}}
with ==, !=, <, <=, >, >= and, for compatibility levels, <level, <=level and so on.
.B $$
stands for one dollar sign.
.PP
Booleans are yes or no. Times take the suffixes s, m, h, d, w; without one they have the unit of the default. Sizes are bytes.
.PP
In master.cf, -o name=value and -o { name = value with blanks } give one service its own value.
.PP
A parameter marked
.I not yet
that protects or delivers stops the start when it is set to something else than its default, unless
.B accept_unsupported
names it. Every smtp_ parameter exists as lmtp_ for LMTP services; below are only those that differ.
'''


def man_text(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def man_values(row):
    if row.values in ("-", "0.."):
        return ""
    if ".." in row.values:
        low, high = row.values.split("..")
        return " At least %s." % low if not high else " From %s to %s." % (low, high)
    words = [w[:-1] + " (not yet)" if w.endswith("?") else w for w in row.words().split("|") if w]
    return " Values: %s%s." % ("empty, " if '""' in row.values else "", man_text(", ".join(words)))


def man_words(words, kind, title):
    out = ['.SH "%s"\n' % title]
    for w in words:
        if w["kind"] != kind:
            continue
        state = {"works": "", "not-yet": " \\fINot yet.\\fR", "obsolete": " \\fIOld name: write this instead.\\fR"}[w["state"]]
        argument = {"-": "", "table": " type:name", "text": " argument"}[w["argument"]]
        out.append(".TP\n.BR %s \"%s\"\n%s.%s\n" % (man_text(w["word"]), argument, man_text(w["text"]), state))
    return "".join(out)


def man_row(row):
    state = {"works": "", "partial": " Works in part.", "not-yet": " \\fINot yet.\\fR", "obsolete": " \\fINo effect.\\fR"}[row.state]
    values = man_values(row)
    default = "(found out at start)" if row.computed else row.default or "(empty)"
    return ".TP\n.BR \"%s\" \" (default: %s)\"\n%s.%s%s\n" % (
        man_text(row.name), man_text(default).replace('"', '\\(dq'), man_text(row.text), values, state)


def man(path, rows):
    out, title = [MAN_HEAD], None
    sections = {}
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        if re.match(r"^# [A-Z]", line) and number > 12:
            title = line[2:].strip()
        sections[number] = title
    title = None
    for row in rows:
        if row.auto:
            continue
        if sections[row.line] != title:
            title = sections[row.line]
            out.append('.SH "%s"\n' % title.upper())
        out.append(man_row(row))
    words = read_words(os.path.join(os.path.dirname(path), "words.tab"))
    out.append(man_words(words, "restriction", "RESTRICTIONS"))
    out.append(man_words(words, "table", "TABLE TYPES"))
    return "".join(out) + ".SH SEE ALSO\nsignet(1), signetd(8)\n"


def corpus(root, want_tests, prefix=""):
    found = []
    for folder, _, names in os.walk(root):
        if "/build" in folder[len(root):] or "/." in folder[len(root):]:
            continue
        for name in names:
            if not name.startswith(prefix):
                continue
            is_test = name.endswith(("_test.c", "_test.py", ".dlg", ".sim")) or "/tests/" in folder + "/"
            if is_test == want_tests and (want_tests or name.endswith((".c", ".h"))):
                found.append(open(os.path.join(folder, name), errors="replace").read())
    return "\n".join(found)


def names_read(rows, root):
    """Names whose value reaches code: as a member, by conf_get(), through a family of names, or as the default of one that does."""
    # what only looks at the configuration is no reader; `signet send` does what it says
    code = corpus(os.path.join(root, "src", "lib"), False) + corpus(os.path.join(root, "src", "role"), False) + \
        corpus(os.path.join(root, "src", "bin", "signet"), False, "send")
    words = set(re.findall(r"(?:->|\.)\s*([A-Za-z_0-9]+)", code)) | set(re.findall(r'"([A-Za-z_0-9]+)"', code))
    members = {row.name: row.member() for row in rows}
    suffixes = [row.name[1:] for row in rows if row.pattern and row.name[0] == "*" and row.name[2:] in words]
    found = {row.name for row in rows if members.get(row.mirror, row.member()) in words or row.name in words
             or (row.pattern and row.name[1:] in suffixes) or any(row.name.endswith(s) for s in suffixes)
             or (row.computed and row.text.endswith("(read only)"))}    # there for others to refer to
    while True:
        more = {name for row in rows if row.name in found for name in re.findall(r"\$\{*([A-Za-z_0-9]+)", row.default)} - found
        if not more:
            return found
        found |= more


def check(path, root):
    rows = read(path)
    found = names_read(rows, root)
    # "\nname = value" in a C string is no word "nname"
    tests = set(re.findall(r"[A-Za-z_0-9]+", re.sub(r"\\[nrt]", " ", corpus(root, True))))
    bad = 0
    for row in rows:
        if row.state != "works" or row.auto or row.pattern:
            continue
        if row.name not in found:
            print("table/params.tab:%d: %s is marked works, but no code reads it" % (row.line, row.name))
            bad += 1
        if row.name not in tests and row.member() not in tests:
            print("table/params.tab:%d: %s is marked works, but no test names it" % (row.line, row.name))
            bad += 1
    return 1 if bad + check_words(path, root) else 0


def check_words(path, root):
    """A word that works is known to code beyond lib/conf."""
    code = "".join(corpus(os.path.join(root, "src", part), False) for part in ("role", "lib/maps", "lib/route", "lib/intake", "lib/smtp"))
    known = set(re.findall(r'"([a-z_]+)"', code))
    bad = 0
    for word in read_words(os.path.join(os.path.dirname(path), "words.tab")):
        name = word["word"]
        made = re.match(r"check_[a-z_]+(_(?:a|mx|ns)_access)$", name)   # written with a macro
        if word["state"] == "works" and name not in known and not (made and made.group(1) in known):
            print("table/words.tab: %s %s is marked works, but no code knows it" % (word["kind"], name))
            bad += 1
    return bad


def main(argv):
    if len(argv) == 3 and argv[1] == "check":
        sys.exit(check(argv[2], os.path.dirname(os.path.dirname(os.path.abspath(argv[2])))))
    if len(argv) != 4:
        sys.exit(__doc__)
    verb, path, out = argv[1:]
    if verb == "words":
        write(out, words_table(read_words(path)))
        return
    rows = read(path)
    if verb == "header":
        write(out, header(rows))
    elif verb == "table":
        write(out, table(rows))
    elif verb == "man":
        write(out, man(path, rows))
    else:
        sys.exit(__doc__)


main(sys.argv)
