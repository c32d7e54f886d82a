"""Bad input to `basalt sim`: exit 2, a message that names the place and what to do, quickly, and
nothing left behind. And the odd input that is documented as accepted."""
import gzip
import json
import os
import resource
import subprocess
import time
import unittest

from harness import BIN, NODES, PODS, SMALL, Case, basalt

CSV_FAULTS = [
    # (what, pods.csv, place, says)
    ("empty", "", "pods.csv:1:1", "empty"),
    ("header only", "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n", "pods.csv:2:1", "no pods"),
    ("wrong column", PODS.replace("num_gpu", "num_gpus"), "pods.csv:1:27",
     'did you mean "num_gpu"?'),
    ("missing column", "name,cpu_milli,memory_mib,num_gpu\np,1,1,0\n", "pods.csv:1:1",
     '"gpu_milli" is missing'),
    ("column twice", PODS.replace("gpu_spec", "gpu_milli"), "pods.csv:1:45", "gpu_milli"),
    ("negative", PODS.replace("p1,2000", "p1,-2000"), "pods.csv:3:4", "-2000"),
    ("overflow", PODS.replace("p1,2000", "p1,99999999999999999999"), "pods.csv:3:4",
     "99999999999999999999"),
    ("decimal", PODS.replace("p1,2000", "p1,2000.5"), "pods.csv:3:4", "2000.5"),
    ("exponent", PODS.replace("p1,2000", "p1,2e3"), "pods.csv:3:4", "2e3"),
    ("words", PODS.replace("p1,2000", "p1,many"), "pods.csv:3:4", "many"),
    ("spaces", PODS.replace("p1,2000", "p1, 2000"), "pods.csv:3:4", "2000"),
    ("empty cell", PODS.replace("p1,2000", "p1,"), "pods.csv:3:4", "cpu_milli"),
    ("duplicate id", PODS.replace("p1,", "p0,"), "pods.csv:3:1", "p0"),
    ("more than a card", PODS.replace("1,460", "1,1460"), "pods.csv:2:16", "1460"),
    ("a share of two cards", PODS.replace("2,1000", "2,460"), "pods.csv:5:16", "460"),
    ("too few cells", PODS.replace("p1,2000,1024,1,1000,T4|P100", "p1,2000"), "pods.csv:3", ""),
    ("too many cells", PODS.replace("T4|P100", "T4|P100,x,y"), "pods.csv:3", ""),
    ("NUL byte", PODS.replace("p1", "p\0001"), "pods.csv:3:2", "NUL"),
    ("invalid UTF-8", PODS.encode().replace(b"p1", b"p\xff1"), "pods.csv:3:2", "UTF-8"),
    ("overlong UTF-8", PODS.encode().replace(b"p1", b"p\xc0\x801"), "pods.csv:3:2", "UTF-8"),
    ("UTF-16", PODS.encode("utf-16"), "pods.csv:1:1", "UTF-8"),
    ("open quote", PODS.replace("p1,", '"p1,'), "pods.csv:3:1", "quote"),
    ("old Mac lines", PODS.replace("\n", "\r"), "pods.csv:1", "carriage return"),
    ("gzip under another name", gzip.compress(PODS.encode()), "pods.csv", ".gz"),
    ("a picture", bytes(range(256)) * 50, "pods.csv:1:1", "NUL"),
]


class Files(Case):
    def test_faults_in_pods(self):
        for what, pods, place, says in CSV_FAULTS:
            with self.subTest(what=what):
                self.bad("sim", *self.small_trace(pods=pods), says=[place, says])

    def test_faults_in_nodes(self):
        for what, nodes, place, says in [
            ("empty", "", "nodes.csv:1:1", "empty"),
            ("no nodes", "sn,cpu_milli,memory_mib,gpu,model\n", "nodes.csv:2:1", "no nodes"),
            ("duplicate id", NODES.replace("n1,", "n0,"), "nodes.csv:3:1", "n0"),
            ("too many cards", NODES.replace(",8,P100", ",65,P100"), "nodes.csv:3", "65"),
            ("negative", NODES.replace(",8,P100", ",-8,P100"), "nodes.csv:3:17", "-8"),
            ("overflow", NODES.replace("96000", "99999999999999999999"), "nodes.csv:3:4", "9999"),
            ("cards without model", NODES.replace("8,P100", "8,"), "nodes.csv:3", "model"),
        ]:
            with self.subTest(what=what):
                self.bad("sim", *self.small_trace(nodes=nodes), says=[place, says])

    def test_all_errors_are_reported_but_not_endlessly(self):
        rows = "".join(f"p{i},x,1,0,0\n" for i in range(100_000))
        header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"
        answer = self.bad("sim", *self.small_trace(pods=header + rows))
        self.assertIn("pods.csv:2:4", answer.err)
        self.assertIn("pods.csv:3:4", answer.err)
        self.assertIn("more", answer.err)

    def test_files_that_are_none(self):
        trace = self.small_trace()
        nodes, pods = trace[1], trace[3]
        missing = self.dir / "missing.csv"
        self.bad("sim", "--nodes", nodes, "--pods", missing, says=[missing, "no such file"])
        self.bad("sim", "--nodes", missing, "--pods", pods, says=[missing, "no such file"])
        self.bad("sim", "--nodes", nodes, "--pods", self.dir, says=[self.dir, "directory"])
        self.bad("sim", "--nodes", nodes, "--pods", pods + ",", says=["--pods"])
        self.bad("sim", "--nodes", nodes, "--pods", f"{pods},{missing}", says=missing)
        self.bad("sim", "--nodes", pods, "--pods", nodes, says="pods.csv:1:1")
        self.bad("sim", "--trace", missing, says=[missing, "no such directory"])
        self.bad("sim", "--trace", pods, says=[pods, "not a directory"])
        loop = self.dir / "loop"
        loop.symlink_to(loop)
        self.bad("sim", "--nodes", nodes, "--pods", loop, says=loop)
        for name in ["a\nb", "ü", "x" * 300, "%s%n"]:
            self.bad("sim", "--nodes", nodes, "--pods", self.dir / name, says=name)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable(self):
        trace = self.small_trace()
        os.chmod(trace[3], 0)
        self.bad("sim", *trace, says=[trace[3], "cannot be opened"])

    def test_unreadable_for_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        trace = self.small_trace()
        os.chmod(trace[3], 0)
        os.chmod(self.dir, 0o755)

        # The command may stand in a folder that only root may enter: an open file is enough.
        command = os.open(BIN, os.O_RDONLY)
        os.set_inheritable(command, True)

        def become_nobody():
            os.setgid(65534)
            os.setuid(65534)
        process = subprocess.run([f"/proc/self/fd/{command}", "sim", *trace], capture_output=True,
                                 timeout=30, check=False, preexec_fn=become_nobody,
                                 pass_fds=[command])
        os.close(command)
        self.assertEqual(process.returncode, 2, process.stderr)
        self.assertIn(f"{trace[3]}: cannot be opened: Permission denied",
                      process.stderr.decode())

    def test_a_pod_larger_than_any_node_is_accepted(self):
        for cpu, gpus in [(999_999_999, 1), (10**9, 1), (1000, 64), (97_001, 0)]:
            with self.subTest(cpu=cpu, gpus=gpus):
                pods = PODS + f"big,{cpu},1024,{gpus},{1000 if gpus else 0},\n"
                start = time.monotonic()
                orders = self.file("o/pods_42.txt", "# c\n0 1 2\n0 1 2 3 4\n").parent
                answer = self.ok("sim", *self.small_trace(pods=pods), "--orders", orders, "-o",
                                 "json", memory_limit=1 << 30, timeout=20)
                self.assertLess(time.monotonic() - start, 5, "time must not grow with a number")
                run = json.loads(answer.out)[0]
                self.assertEqual((run["placed"], run["failed"]), (4, 1), answer)
                self.assertEqual(run["failed_shapes"][0]["outcome"], "Infeasible")
        self.bad("sim", *self.small_trace(pods=PODS + "big,1,1,65,1000,\n"),
                 says=["pods.csv:6", "65"])
        self.bad("sim", *self.small_trace(pods=PODS + "big,99999999999,1,0,0,\n"),
                 says=["pods.csv", "99999999999"])

    def test_a_request_that_is_no_round_number_costs_nothing(self):
        pods = PODS + "a,999999999,1024,1,1000,\nb,777777777,1024,1,500,\n"
        before = time.monotonic()
        self.ok("sim", *self.small_trace(pods=pods), memory_limit=1 << 30, timeout=20)
        self.assertLess(time.monotonic() - before, 5)

    def test_accepted_as_documented(self):
        plain = json.loads(self.ok("sim", *self.small_trace(), "-o", "json").out)
        for what, pods in [("CRLF", PODS.replace("\n", "\r\n").encode()),
                           ("BOM", b"\xef\xbb\xbf" + PODS.encode()),
                           ("no last line end", PODS[:-1].encode()),
                           ("empty lines", PODS.replace("\n", "\n\n").encode()),
                           ("quotes", PODS.replace("p1,", '"p1",').encode())]:
            with self.subTest(what=what):
                same = json.loads(self.ok("sim", *self.small_trace(pods=pods), "-o", "json").out)
                self.assertEqual(same[0]["digest"], plain[0]["digest"])
        packed = self.file("pods.csv.gz", gzip.compress(PODS.encode()))
        trace = self.small_trace()
        trace[3] = str(packed)
        same = json.loads(self.ok("sim", *trace, "-o", "json").out)
        self.assertEqual((same[0]["digest"], same[0]["trace"]), (plain[0]["digest"], "pods"))

    def test_pipes_are_files_too(self):
        trace = self.small_trace()
        script = '"$0" sim --nodes <(cat "$1") --pods <(cat "$2")'
        process = subprocess.run(["bash", "-c", script, BIN, trace[1], trace[3]],
                                 capture_output=True, timeout=30, check=False)
        self.assertEqual(process.returncode, 0, process.stderr)

    def test_broken_gzip(self):
        packed = gzip.compress(PODS.encode() * 500)
        trace = self.small_trace()
        for what, data in [("truncated", packed[:-20]), ("only a header", packed[:10]),
                           ("wrong checksum", packed[:-6] + b"abcdef"), ("none", b""),
                           ("not gzip", PODS.encode()), ("trailing bytes", packed + b"xxxx")]:
            with self.subTest(what=what):
                path = self.file("broken.csv.gz", data)
                self.bad("sim", "--nodes", trace[1], "--pods", path, says=path)

    def test_a_line_of_1_gb(self):
        # A sparse file: a header, a gigabyte of NUL, no line end. And a gigabyte of letters
        # through a pipe, which has no size to look at.
        path = self.dir / "huge.csv"
        with open(path, "wb") as f:
            f.write(PODS.encode())
            f.truncate(1 << 30)
        packed = self.dir / "huge.csv.gz"
        with gzip.open(packed, "wb", compresslevel=1) as f:
            f.write(PODS.encode())
            for _ in range(64):
                f.write(b"a" * (1 << 20))
        nodes = self.small_trace()[1]
        for pods in [path, packed]:
            start = time.monotonic()
            self.bad("sim", "--nodes", nodes, "--pods", pods, says=[f"{pods}:6", "longer than"])
            self.assertLess(time.monotonic() - start, 5)
        script = '''head -c 1000000000 /dev/zero | tr '\\0' a | "$0" sim --nodes "$1" \
                    --pods /dev/stdin'''
        process = subprocess.run(["bash", "-c", script, BIN, nodes], capture_output=True,
                                 timeout=30, check=False)
        self.assertEqual(process.returncode, 2, process.stderr)
        self.assertIn(b"longer than", process.stderr)
        # The largest child so far, so this file keeps all of its inputs small.
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 160 << 10, "KiB")


class Policies(Case):
    def test_names(self):
        self.bad("sim", *SMALL, "--policy", "pack", says=['"pack"', 'did you mean "binpack"?'])
        self.bad("sim", *SMALL, "--policy", "FGD", says=["FGD"])
        self.bad("sim", *SMALL, "--policy", "zzz", says=["zzz", "known:", "best-fit"])

    def test_expressions(self):
        for text in ["", ",", "fgd,", ",fgd", "fgd:", "fgd:0", "fgd:-1", "fgd:nan", "fgd:inf",
                     "fgd:1e999", "fgd:0x10", "fgd:1001", "fgd:1:2", "fgd+", "+fgd", "+", ":", "/",
                     "(", ")", "()", "fgd(", "fgd)", "fgd()", "class-quota(", "class-quota()",
                     "class-quota(;)", "class-quota(T4;fgd)", "class-quota(T4=;fgd)",
                     "class-quota(T4=-1;fgd)", "class-quota(T4=0.5;)", "class-quota(T4=0.5;pack)",
                     "class-quota(T4=0.5)", "spread-job", "spread-job(", "spread-job()",
                     "spread-job(pack)", "spread-job(fgd))", "spread-job((fgd))", "a/b/c",
                     "fgd/", "/best", "fgd/bogus", "fgd/best/best", " fgd", "fgd ", "fgd\n",
                     "fgd;pwr", "\xfc", "fgd:0.5 + pwr:0.5"]:
            with self.subTest(policy=text):
                self.bad("sim", *SMALL, "--policy", text)

    def test_garbage(self):
        for what, text in [("parentheses", "(" * 10_000), ("closed", "(" * 10_000 + ")" * 10_000),
                           ("only closing", ")" * 10_000),
                           ("long name", "x" * 100_000), ("long weight", "fgd:" + "9" * 100_000),
                           ("nested quotas", "class-quota(" * 10_000),
                           ("many slashes", "fgd" + "/best" * 10_000),
                           ("many colons", "fgd" + ":1" * 10_000)]:
            with self.subTest(what=what):
                self.bad("sim", *SMALL, "--policy", text)

    def test_deep_nesting_is_refused(self):
        for name in ["spread-job(", "class-quota(T4=1;"]:
            depth = 100_000 // len(name)
            with self.subTest(name=name):
                self.bad("sim", *SMALL, "--policy", name * depth + "fgd" + ")" * depth)

    def test_everywhere_a_policy_is_named(self):
        state, journal = self.dir / "s", self.dir / "j"
        self.ok("snapshot", "make", *SMALL, "--out", state, "--journal", journal)
        for args in [["explain", *SMALL, "--request", "gpus=1"],
                     ["explain", "--snapshot", state, "--request", "gpus=1"],
                     ["snapshot", "make", *SMALL, "--out", self.dir / "x"],
                     ["snapshot", "replay", journal]]:
            self.bad(*args, "--policy", "pack", says=["--policy", 'did you mean "binpack"?'])
        self.bad("explain", *SMALL, "--request", "gpus=1", "--policy", "fgd,pwr", says="--policy")


class Options(Case):
    def test_seeds(self):
        for text in ["", "a", "5-1", "1-999999999", "-1", "1-", "-", ",", "1,", "1,,2", "1-2-3",
                     " 1", "1 ", "0x10", "1.5", "18446744073709551616", "0-18446744073709551615",
                     "1-100001", "1-60000,1-60000", "9" * 10_000]:
            with self.subTest(seeds=text):
                self.bad("sim", *SMALL, "--seeds", text, says="--seeds")
        self.bad("snapshot", "make", *SMALL, "--seed", "-1", "--out", self.dir / "x",
                 says="--seed")

    def test_numbers(self):
        for option, values in {
            "--inflate": ["0", "-1", "1001", "99999999999", "a", "1.5", ""],
            "--threads": ["-1", "1025", "x"],
            "--target-percent": ["0", "101", "-5", "x"],
            "--generate-load": ["0", "-1", "nan", "inf", "1e300", "a"],
            "--mode": ["x", "", "Saturation "],
            "--queue": ["lifo"],
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.bad("sim", *SMALL, option, value, memory_limit=4 << 30)

    def test_nan_is_no_number_anywhere(self):
        # Read before any file is.
        usage = ["report", "usage", "--trace", self.dir]
        compare = ["topo", "compare"]
        plan = ["plan", "oversubscription", "x.yaml"]
        for command, options in [
            (usage, ["--from", "--to", "--idle-below", "--idle-for", "--hold", "--top"]),
            (compare, ["--load", "--comm-share", "--nodes", "--jobs", "--threads"]),
            (plan, ["--correlation", "--cards", "--card-memory", "--risk", "--phasing"]),
            (["topo", "show", "dgx-1-v100"], ["--cards", "--min-bandwidth"]),
            (["sim", *SMALL], ["--inflate", "--threads", "--backfill-depth",
                               "--wait-for-bandwidth", "--generate-load", "--generate-nodes"]),
            (["explain", *SMALL, "--request", "gpus=1"], ["--top", "--at"]),
            (["trace", "generate", "--out", self.dir / "o"],
             ["--load", "--mean-duration", "--sigma", "--racks"]),
        ]:
            for option in options:
                for value in ["nan", "-nan", "NaN", "inf", "-inf", "", "1x"] + (
                        ["-1"] if option not in ["--from", "--to"] else []):
                    with self.subTest(option=option, value=value):
                        self.bad(*command, f"{option}={value}", says=option)

    def test_generator_sizes(self):
        for option in ["--generate-nodes", "--generate-pods"]:
            for value in ["0", "-1", "99999999", "4294967296", "4294967297",
                          "99999999999999999999", "1e3", "x"]:
                with self.subTest(option=option, value=value):
                    self.bad("sim", "--generate", option, value, memory_limit=2 << 30)

    def test_sources(self):
        trace = self.small_trace()
        nodes, pods = trace[1], trace[3]
        self.bad("sim", says=["--nodes", "--trace", "--generate"])
        self.bad("sim", "--nodes", nodes, says="--pods")
        self.bad("sim", "--pods", pods, says="--nodes")
        self.bad("sim", *SMALL, "--trace", self.dir, says="one of them")
        self.bad("sim", *SMALL, *trace, says="one of them")
        self.bad("sim", *trace, "--trace", self.dir, says="one of them")
        self.bad("sim", "--trace", "", says="--trace")
        self.bad("sim", "--nodes", "", "--pods", "")

    def test_orders(self):
        trace = self.small_trace()
        orders = self.dir / "orders"
        self.bad("sim", *trace, "--orders", orders, says=[orders])
        orders.mkdir()
        self.bad("sim", *trace, "--orders", orders, says=[orders, "pods_42.txt"])
        self.bad("sim", *trace, "--orders", trace[1], says=trace[1])
        good = "# c\n2 0 1\n3 0 1 2\n"
        for what, text, place in [
            ("empty", "", "pods_42.txt"),
            ("no pods line", "# c\n2 0 1\n", "pods_42.txt"),
            ("too few ranks", "# c\n2 0\n3 0 1 2\n", "pods_42.txt:2"),
            ("too many ranks", "# c\n2 0 1 3\n3 0 1 2\n", "pods_42.txt:2"),
            ("rank twice", "# c\n2 0 0\n3 0 1 2\n", "pods_42.txt:2"),
            ("rank out of range", "# c\n3 0 1\n3 0 1 2\n", "pods_42.txt:2"),
            ("pod out of range", "# c\n2 0 1\n4 0 1 2\n", "pods_42.txt:3:1"),
            ("negative", "# c\n2 0 1\n3 0 -1 2\n", "pods_42.txt:3:5"),
            ("overflow", "# c\n2 0 1\n3 0 99999999999999999999\n", "pods_42.txt:3:5"),
            ("word", "# c\n2 0 1\n3 0 x\n", "pods_42.txt:3:5"),
            ("a line too many", good + "1\n", "pods_42.txt:4"),
            ("NUL", good.replace("3 0", "3\0 0"), "pods_42.txt:3"),
        ]:
            with self.subTest(what=what):
                self.file("orders/pods_42.txt", text)
                self.bad("sim", *trace, "--orders", orders, says=place)
        self.file("orders/pods_42.txt.gz", gzip.compress(good.encode())[:-9])
        (orders / "pods_42.txt").unlink()
        self.bad("sim", *trace, "--orders", orders, says=["pods_42.txt.gz", "truncated"])
        self.bad("sim", *trace, "--orders", orders, "--mode", "replay", says="--orders")

    def test_report_that_cannot_be_written(self):
        for path in [self.dir / "missing/r.html", self.dir, "/proc/r.html"]:
            with self.subTest(path=path):
                self.bad("sim", *SMALL, "--report", path, says=[path, ": "])
        start = time.monotonic()  # said before the work, not after it
        self.bad("sim", "--generate", "--seeds", "1-500", "--report", self.dir / "no/r.html")
        self.assertLess(time.monotonic() - start, 2)

    def test_a_report_never_replaces_a_good_one_by_half(self):
        report = self.file("r.html", "old")
        self.bad("sim", *SMALL, "--policy", "pack", "--report", report)
        self.assertEqual(report.read_text(), "old")
        self.ok("sim", *SMALL, "--report", report)
        self.assertGreater(len(report.read_text()), 10_000)
        self.assertEqual([p.name for p in self.dir.iterdir()], ["r.html"])


if __name__ == "__main__":
    unittest.main()
