"""`basalt trace`: check, import, scale, generate."""
import gzip
import json
import shutil
import unittest

from harness import NODES, PODS, Case, basalt


class Generated(Case):
    def setUp(self):
        super().setUp()
        self.trace = self.dir / "t"
        self.ok("trace", "generate", "--nodes", 8, "--pods", 40, "--out", self.trace)


class Check(Generated):
    def check(self, code, *places):
        answer = basalt("trace", "check", self.trace)
        self.assertEqual(answer.code, code, answer)
        if code == 0:
            self.assertEqual((answer.out, answer.err), (f"{self.trace}: ok\n", ""))
        else:
            self.assertEqual(answer.out, "")
            for place in places:
                self.assertIn(f"{self.trace}/{place}", answer.err)
            # `sim` refuses what `check` refuses, with the same words.
            sim = self.bad("sim", "--trace", self.trace)
            self.assertIn(answer.err.splitlines()[0], sim.err)
        return answer

    def edit(self, name, old, new, count=1):
        path = self.trace / name
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, count))

    def rows(self, name):
        return [line.split(",") for line in (self.trace / name).read_text().splitlines()]

    def set(self, name, row, column, value):
        """Returns file:line:column of the changed cell."""
        rows = self.rows(name)
        c = rows[0].index(column)
        rows[row][c] = value
        (self.trace / name).write_text("\n".join(map(",".join, rows)) + "\n")
        return f"{name}:{row + 1}:{1 + sum(len(cell) + 1 for cell in rows[row][:c])}: "

    def test_good(self):
        self.check(0)
        for name in ["nodes.csv", "tasks.csv"]:  # packed is as good
            path = self.trace / name
            (self.trace / (name + ".gz")).write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
        self.check(0)
        (self.trace / "README").write_text("other files are left alone")
        self.check(0)

    def test_cells(self):
        for name, column, value in [
            ("nodes.csv", "gpu_count", "-1"), ("nodes.csv", "gpu_count", "65"),
            ("nodes.csv", "gpu_count", "2.5"), ("nodes.csv", "cpu_milli", ""),
            ("nodes.csv", "cpu_milli", "99999999999999999999"), ("nodes.csv", "labels", "{"),
            ("jobs.csv", "submit_s", "x"), ("jobs.csv", "submit_s", "1.1234567"),
            ("jobs.csv", "preemptible", "2"), ("jobs.csv", "status", "dead"),
            ("jobs.csv", "comm_share", "1.5"), ("jobs.csv", "required_tier", "rack=1"),
            ("nodes.csv", "domains", "rack"), ("nodes.csv", "domains", "rack=a;rack=b"),
            ("jobs.csv", "duration_s", "-1"), ("tasks.csv", "replicas", "0"),
            ("tasks.csv", "gpu_milli", "1001"), ("tasks.csv", "gpu_num", "x"),
            ("tasks.csv", "colocate", "moon"),
        ]:
            with self.subTest(column=column, value=value):
                before = (self.trace / name).read_bytes()
                self.check(2, self.set(name, 3, column, value))
                (self.trace / name).write_bytes(before)
        self.check(0)

    def test_all_errors_in_one_go(self):
        places = [self.set("nodes.csv", 2, "gpu_count", "x"),
                  self.set("jobs.csv", 5, "submit_s", "y"),
                  self.set("tasks.csv", 7, "gpu_num", "z")]
        answer = self.check(2, *places)
        self.assertEqual(len(answer.err.splitlines()), 3)

    def test_rules_between_rows(self):
        ids = self.rows("jobs.csv")
        job = ids[0].index("job_id")
        place = self.set("jobs.csv", 4, "job_id", ids[3][job])
        self.assertIn(ids[3][job], self.check(2, place).err)

    def test_a_task_without_its_job(self):
        self.check(2, self.set("tasks.csv", 4, "job_id", "nobody"))

    def test_headers(self):
        self.edit("nodes.csv", "gpu_count", "gpu_cout")
        self.assertIn('did you mean "gpu_count"?', self.check(2, "nodes.csv:1:").err)
        self.edit("nodes.csv", "gpu_cout", "cpu_milli")
        self.check(2, "nodes.csv:1:")

    def test_files(self):
        for name in ["nodes.csv", "jobs.csv", "tasks.csv", "manifest.json"]:
            with self.subTest(missing=name):
                path = self.trace / name
                data = path.read_bytes()
                path.unlink()
                self.check(2, name)
                path.write_bytes(b"")
                self.check(2, name)
                path.write_bytes(data[:len(data) // 2])  # cut
                self.check(2)
                path.write_bytes(data)
        self.check(0)
        (self.trace / "task.csv").write_text("")
        self.assertIn('did you mean "tasks.csv"?', self.check(2, "task.csv").err)
        (self.trace / "task.csv").unlink()
        (self.trace / "jobs.csv.gz").write_bytes(gzip.compress(b""))
        self.check(2, "jobs.csv.gz")

    def test_manifest(self):
        good = (self.trace / "manifest.json").read_text()
        for text in ["{", "[]", "3", '"x"', "{}", good.replace("gputrace/1", "gputrace/9"),
                     good.replace('"nodes": 8', '"nodes": 9').replace('"nodes":8', '"nodes":9'),
                     good.replace("{", '{"extra": 1,', 1),
                     "[" * 100_000, good[:-3], good.replace("gputrace", "gpu\0trace"),
                     good.encode().replace(b"gputrace", b"\xff")]:
            with self.subTest(text=text[:40]):
                data = text if isinstance(text, bytes) else text.encode()
                (self.trace / "manifest.json").write_bytes(data)
                self.check(2, "manifest.json")

    def test_no_directory(self):
        for path in [self.dir / "missing", self.trace / "nodes.csv"]:
            answer = basalt("trace", "check", path)
            self.assertEqual((answer.code, answer.out), (2, ""), answer)
            self.assertIn(str(path), answer.err)
        self.bad("trace", "check")


class Write(Generated):
    def test_nothing_is_overwritten_unasked(self):
        before = {p.name: p.read_bytes() for p in self.trace.iterdir()}
        again = ["trace", "generate", "--nodes", 9, "--pods", 40, "--out", self.trace]
        self.bad(*again, says=[self.trace, "overwrite"])
        self.assertEqual(before, {p.name: p.read_bytes() for p in self.trace.iterdir()})
        self.ok(*again, "--overwrite")
        self.assertNotEqual(before["nodes.csv"], (self.trace / "nodes.csv").read_bytes())
        self.assertEqual(sorted(before), sorted(p.name for p in self.trace.iterdir()))
        (self.trace / "thesis.doc").write_text("precious")
        self.bad(*again, "--overwrite", says="thesis.doc")
        self.bad(*again[:-1], self.dir / "t/nodes.csv", "--overwrite", says="not a directory")
        self.bad(*again[:-1], "", says="directory")
        self.bad(*again[:-1], "/proc/trace")

    def test_a_name_without_a_folder(self):
        self.ok("trace", "generate", "--nodes", 5, "--pods", 10, "--out", "here", cwd=self.dir)
        self.ok("trace", "check", "here", cwd=self.dir)
        self.ok("trace", "generate", "--nodes", 5, "--pods", 10, "--out", "a/b/", cwd=self.dir)
        self.ok("trace", "check", "a/b", cwd=self.dir)

    def test_same_seed_same_bytes(self):
        other = self.dir / "other"
        self.ok("trace", "generate", "--nodes", 8, "--pods", 40, "--out", other)
        for name in ["nodes.csv", "jobs.csv", "tasks.csv", "manifest.json"]:
            self.assertEqual((self.trace / name).read_bytes(), (other / name).read_bytes(), name)
        shutil.rmtree(other)
        self.ok("trace", "generate", "--nodes", 8, "--pods", 40, "--seed", 1, "--out", other)
        self.assertNotEqual((self.trace / "tasks.csv").read_bytes(),
                            (other / "tasks.csv").read_bytes())

    def test_generator_options(self):
        for option, values in {
            "--nodes": ["0", "-1", "1000001", "x"], "--pods": ["0", "-1", "10000001"],
            "--load": ["0", "-1", "nan", "101"], "--seed": ["-1", "x", "18446744073709551616"],
            "--mean-duration": ["0", "-1", "nan", "inf", "1e300"],
            "--sigma": ["-1", "nan", "1e9"], "--duration": ["uniform"], "--kind": ["gang"],
            "--racks": ["1", "-1"],
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    args = ["--nodes", 5, "--pods", 10, option, value]
                    if option in ("--nodes", "--pods"):
                        args = [option, value]
                    self.bad("trace", "generate", *args, "--out", self.dir / "new")
        self.bad("trace", "generate", says="--out")


class Import(Case):
    def test_openb(self):
        out = self.dir / "t"
        self.ok("trace", "import", *self.small_trace(), "--out", out)
        self.ok("trace", "check", out)
        direct = json.loads(self.ok("sim", *self.small_trace(), "-o", "json").out)[0]
        imported = json.loads(self.ok("sim", "--trace", out, "-o", "json").out)[0]
        self.assertEqual(direct["digest"], imported["digest"])
        self.assertEqual(direct["fragmentation_pct"], imported["fragmentation_pct"])
        copy = self.dir / "copy"  # canonical to canonical changes nothing
        self.ok("trace", "import", "--format", "canonical", "--dir", out, "--out", copy)
        for name in ["nodes.csv", "jobs.csv", "tasks.csv"]:
            self.assertEqual((out / name).read_bytes(), (copy / name).read_bytes(), name)

    def test_refusals(self):
        trace = self.small_trace()
        out = self.dir / "out"
        self.bad("trace", "import", "--format", "opneb", *trace, "--out", out,
                 says='did you mean "openb"?')
        self.bad("trace", "import", *trace[:2], "--out", out, says="--pods")
        self.bad("trace", "import", *trace[2:], "--out", out, says="--nodes")
        self.bad("trace", "import", *trace, "--dir", self.dir, "--out", out, says="--dir")
        self.bad("trace", "import", *trace, says="--out")
        self.bad("trace", "import", *self.small_trace(pods=PODS.replace("p1,", "p0,")), "--out",
                 out, says="pods.csv:3:1")
        self.bad("trace", "import", *self.small_trace(nodes=NODES.replace("n1,", "n0,")), "--out",
                 out, says="nodes.csv:3:1")
        self.file("full/x", "")
        self.bad("trace", "import", *self.small_trace(), "--out", self.dir / "full", says="full")


    PHILLY = ("timestamp,duration,num_gpus,gpu_time,cluster\n"
              "2017-10-09 07:01:55,66.0,1,66.0,a\n2017-10-09 06:13:03,100.0,16,1600.0,b\n")

    def test_philly(self):
        jobs = self.file("any.name", self.PHILLY)
        out = self.dir / "t"
        philly = ["trace", "import", "--format", "philly-csv"]
        self.ok(*philly, "--pods", jobs, "--out", out)
        self.ok("trace", "check", out)
        self.assertEqual(len((out / "nodes.csv").read_text().splitlines()), 553)
        self.assertIn("assumed", (out / "manifest.json").read_text())
        own = self.file("n.csv", "node_id,gpu_count,cpu_milli,memory_mib\nn0,8,1,1\n")
        self.ok(*philly, "--nodes", own, "--pods", jobs, "--out", self.dir / "own")
        self.assertEqual(len((self.dir / "own/nodes.csv").read_text().splitlines()), 2)
        self.bad(*philly, "--nodes", own, "--out", self.dir / "x", says="--pods")
        jobs = self.file("bad", self.PHILLY.replace("1600.0", "1601.0"))
        self.bad(*philly, "--pods", jobs, "--out", self.dir / "x", says="bad:3:30: gpu_time")


class Scale(Case):
    def test_load(self):
        gangs, out = self.dir / "gangs", self.dir / "out"
        self.ok("trace", "generate", "--kind", "gangs", "--nodes", 20, "--racks", 4, "--pods", 500,
                "--out", gangs)
        self.ok("trace", "check", gangs)
        scale = ["trace", "scale", "--dir", gangs, "--out", out, "--load"]
        self.assertIn("offered load 0.5000, was ", self.ok(*scale, 0.5).err)
        self.ok("trace", "check", out)
        self.assertEqual((gangs / "tasks.csv").read_bytes(), (out / "tasks.csv").read_bytes())
        self.bad(*scale, 0.6, says="overwrite")
        for load in ["0", "-1", "nan", "101", "x"]:
            self.bad(*scale, load, "--overwrite", says="--load")
        self.bad("trace", "scale", "--dir", gangs, "--out", out, says="--load")
        self.bad("trace", "scale", "--dir", self.dir / "no", "--load", 1, "--out", out, says="no")

    def test_what_has_no_load(self):
        trace = self.dir / "t"
        self.ok("trace", "import", *self.small_trace(), "--out", trace)
        self.bad("trace", "scale", "--dir", trace, "--load", 1, "--out", self.dir / "x",
                 says="submit_s")


if __name__ == "__main__":
    unittest.main()
