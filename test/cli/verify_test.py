"""`basalt verify atc23` and the real trace, from the shared data."""
import csv
import gzip
import json
import shutil
import time
import unittest

from harness import ATC23, OPENB, Case, basalt, needs_shared

NODES = OPENB / "openb_node_list_gpu_node.csv"
RESULTS = ["analysis_allo_discrete.csv", "analysis_frag_discrete.csv",
           "analysis_frag_ratio_discrete.csv"]


@needs_shared(ATC23 / "orders")
class Verify(Case):
    def setUp(self):
        super().setUp()
        self.args = {"--nodes": NODES, "--pods": OPENB, "--orders": ATC23 / "orders",
                     "--expected": ATC23}

    def verify(self, *more):
        return basalt("verify", "atc23", *(x for pair in self.args.items() for x in pair), *more)

    def refused(self, *more, says):
        return self.bad("verify", "atc23", *(x for pair in self.args.items() for x in pair), *more,
                        says=says)

    def expected(self, workload="default", rename=None, seeds=("42", "43")):
        """A copy of the authors' rows of one trace, possibly under another name."""
        folder = self.dir / "expected"
        folder.mkdir(exist_ok=True)
        for name in RESULTS:
            with open(ATC23 / name, newline="", encoding="utf-8") as f:
                rows = list(csv.reader(f))
            kept = [r for r in rows[1:] if r[0].endswith("_" + workload) and r[3] in seeds]
            for row in kept:
                row[0] = rename or row[0]
            self.assertTrue(kept, name)
            with open(folder / name, "w", newline="", encoding="utf-8") as f:
                csv.writer(f).writerows([rows[0], *kept])
        self.args["--expected"] = folder
        return folder

    def change(self, name, policy, seed, point, value):
        path = self.args["--expected"] / name
        with open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.reader(f))
        for row in rows[1:]:
            if row[1].endswith("-" + policy) and row[3] == seed:
                row[rows[0].index(str(point))] = value
        with open(path, "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(rows)

    def test_exact(self):
        answer = self.verify("--traces", "default", "--seeds", "42-43", "-o", "json")
        self.assertEqual((answer.code, answer.err), (0, ""), answer)
        said = json.loads(answer.out)
        self.assertEqual((said["runs"], said["exact"], said["max_abs_diff"]), (10, 10, 0))
        self.assertEqual((said["random_runs"], len(said["rows"])), (2, 12))
        for row in said["rows"]:
            self.assertRegex(row["digest"], r"^[0-9a-f]{32}$")
            self.assertEqual(row["placed"] + row["failed"],
                             10866 if row["seed"] == 42 else row["placed"] + row["failed"])
        table = self.verify("--traces", "default", "--seeds", "42-43")
        self.assertIn('{"runs":10,"exact":10,"max_abs_diff":0.00}', table.out)
        for name in ["csv", "markdown"]:
            self.assertEqual(self.verify("--traces", "default", "--seeds", "42", "-o", name).code,
                             0)

    def test_a_changed_value_fails_the_gate(self):
        for name, key in zip(RESULTS, ["allocation_diff", "fragmentation_diff",
                                       "fragmentation_ratio_diff"]):
            for point, value in [(77, "1.5"), (0, "99"), (130, "0.01")]:
                with self.subTest(name=name, point=point):
                    self.expected()
                    self.change(name, "FGD", "43", point, value)
                    answer = self.verify("-o", "json")
                    self.assertEqual(answer.code, 1, answer)
                    said = json.loads(answer.out)
                    self.assertEqual((said["runs"], said["exact"], said["passed"]), (10, 9, False))
                    self.assertGreater(said["max_abs_diff"], 0)
                    wrong = [r for r in said["rows"] if r["exact"] is False]
                    self.assertEqual([(r["policy"], r["seed"]) for r in wrong], [("fgd", 43)])
                    self.assertGreater(wrong[0][key], 0)
        table = self.verify()
        self.assertEqual(table.code, 1)
        self.assertRegex(table.out, r"fgd +43 .* NO ")

    def test_names_mean_nothing(self):
        # The same trace as "foo", in other folders, packed otherwise.
        pods, orders = self.dir / "pods", self.dir / "orders"
        pods.mkdir()
        orders.mkdir()
        (pods / "foo.csv.gz").write_bytes(
            gzip.compress((OPENB / "openb_pod_list_default.csv").read_bytes()))
        for seed in ("42", "43"):
            (orders / f"foo_{seed}.txt").write_bytes(gzip.decompress(
                (ATC23 / f"orders/default_{seed}.txt.gz").read_bytes()))
        nodes = self.dir / "n.csv"
        shutil.copy(NODES, nodes)
        self.expected(rename="foo")
        self.args |= {"--nodes": nodes, "--pods": pods, "--orders": orders}
        for more in [[], ["--traces", "foo"]]:
            answer = self.verify("-o", "json", *more)
            self.assertEqual(answer.code, 0, answer)
            said = json.loads(answer.out)
            self.assertEqual((said["runs"], said["exact"]), (10, 10))
            self.assertEqual({r["trace"] for r in said["rows"]}, {"foo"})
        # The same rows in another order, as DOS lines with a mark.
        for name in RESULTS:
            path = self.args["--expected"] / name
            head, *rows = path.read_text().splitlines()
            path.write_bytes("\r\n".join([head, *reversed(rows), ""]).encode())
        self.assertEqual(self.verify().code, 0)

    def test_what_is_missing_is_named(self):
        self.expected()
        expected = self.args["--expected"]
        for option, path, says in [
            ("--nodes", self.dir / "n", "no such file"), ("--pods", self.dir / "p", "listed"),
            ("--orders", self.dir / "o", "listed"), ("--expected", self.dir / "e", RESULTS[0]),
        ]:
            was = self.args[option]
            self.args[option] = path
            self.refused(says=[path, says])
            self.args[option] = was
        self.refused("--traces", "bogus", says=["bogus", str(OPENB)])
        self.refused("--seeds", "99", says=str(ATC23 / "orders"))
        self.refused("--seeds", "x", says="--seeds")
        empty = self.dir / "empty"
        empty.mkdir()
        self.args["--orders"] = empty
        self.refused(says=[empty, "no arrival order"])
        (empty / "default_42.txt").write_text("# one of two\n" + gzip.decompress(
            (ATC23 / "orders/default_42.txt.gz").read_bytes()).decode().split("\n", 1)[1])
        answer = self.verify("-o", "json")
        self.assertEqual((answer.code, json.loads(answer.out)["runs"]), (0, 5), answer)
        self.assertIn("no arrival order for 1 ", answer.err)
        # A row that only one of the three result files has is not "exact".
        path = expected / RESULTS[2]
        lines = path.read_text().splitlines()
        path.write_text("\n".join(l for l in lines if "-FGD," not in l) + "\n")
        self.refused(says=[path, "FGD", "42"])

    def test_wrong_result_files(self):
        for text, says in [("", "column"), ("a,b\n", "column"),
                           ("workload,sc_policy,seed,0\nopenb_pod_list_default,06-FGD,42,x\n",
                            ":2:"),
                           ("workload,sc_policy,seed,0\nopenb_pod_list_default,06-FGD,42,nan\n",
                            ":2:"),
                           ("workload,sc_policy,seed,0\nopenb_pod_list_default,06-FGD,-1,1\n",
                            ":2:"), ("workload,sc_policy,seed,0\nx,06-FGD,42\n", ":2")]:
            with self.subTest(text=text):
                path = self.expected() / RESULTS[1]
                path.write_text(text)
                self.refused(says=[path, says])
        path = self.expected() / RESULTS[0]
        path.write_bytes(path.read_bytes().replace(b"FGD", b"F\0D"))
        self.refused(says=path)

    def test_wrong_orders(self):
        self.expected(seeds=("42",))
        good = gzip.decompress((ATC23 / "orders/default_42.txt.gz").read_bytes()).decode()
        comment, ranks, pods = good.split("\n")[:3]
        self.args["--orders"] = self.dir / "orders"
        for what, text, line in [
            ("other trace's length", f"{comment}\n{ranks}\n{pods} 99999\n", ":3"),
            ("rank missing", f"{comment}\n{ranks.rsplit(' ', 1)[0]}\n{pods}\n", ":2"),
        ]:
            with self.subTest(what=what):
                path = self.file("orders/default_42.txt", text)
                self.refused(says=str(path) + line)
        # A shorter order is an order; its runs just do not reach the published points.
        self.file("orders/default_42.txt", f"{comment}\n{ranks}\n{pods[:len(pods) // 3]}\n")
        answer = self.verify("-o", "json")
        said = json.loads(answer.out)
        self.assertEqual((answer.code, said["exact"], said["max_abs_diff"]), (1, 0, None))
        self.assertIsNone(said["random_mean_max_abs_diff"])


@needs_shared(OPENB)
class RealTrace(Case):
    def sim(self, *args):
        return json.loads(self.ok(
            "sim", "--nodes", NODES, "--pods", OPENB / "openb_pod_list_default.csv", "-o", "json",
            *args).out)

    def test_fill(self):
        runs = self.sim("--policy", "fgd,best-fit", "--seeds", "42", "--orders", ATC23 / "orders")
        for r in runs:
            self.assertEqual((r["trace"], r["arrivals"]), ("openb_pod_list_default", 10866))
            self.assertEqual((r["engine_calls"], r["placed"] + r["failed"]), (10866, 10866))
            self.assertEqual(r["arrived_pct"], list(range(131)))
            self.assertLess(r["cpu_seconds"], 5)
        alone = self.sim("--policy", "best-fit", "--orders", ATC23 / "orders", "--scan")
        self.assertEqual(alone[0]["digest"], runs[1]["digest"])

    def test_replay_and_import(self):
        start = time.monotonic()
        replay = self.sim("--mode", "replay")[0]
        self.assertEqual(replay["placed"] + replay["failed"], 8152)
        trace = self.dir / "t"
        self.ok("trace", "import", "--nodes", NODES, "--pods",
                OPENB / "openb_pod_list_default.csv", "--out", trace)
        self.ok("trace", "check", trace)
        again = json.loads(self.ok("sim", "--trace", trace, "--mode", "replay", "-o", "json").out)
        self.assertEqual(again[0]["digest"], replay["digest"])
        self.assertLess(time.monotonic() - start, 30)


if __name__ == "__main__":
    unittest.main()
