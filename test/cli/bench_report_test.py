"""`basalt bench` with missing, changed and broken golden files; `basalt report` with wrong data."""
import json
import unittest

from harness import HAMI, SMALL, SOURCE, Case, basalt

SUITE = """cases:
  - {name: a, policy: fgd, nodes: 20, pods: 100}
  - {name: b, policy: best-fit, nodes: 20, pods: 100, mode: replay}
"""


class Bench(Case):
    def setUp(self):
        super().setUp()
        self.suite, self.golden = self.file("suite.yaml", SUITE), self.dir / "golden.json"
        self.args = ["bench", "--suite", self.suite, "--golden", self.golden]

    def test_accept_then_pass_then_change(self):
        self.bad(*self.args, says=self.golden)
        self.bad(*self.args, "--accept", says="--reason")
        self.ok(*self.args, "--accept", "--reason", "the first")
        accepted = json.loads(self.golden.read_text())
        self.assertEqual(accepted["accepted"], ["the first"])
        self.assertEqual(sorted(accepted["cases"]), ["a", "b"])
        self.assertIn("2 cases, all as in", self.ok(*self.args).out)
        text = self.golden.read_text()
        self.ok(*self.args, "--accept", "--reason", "nothing changed")
        self.assertEqual(self.golden.read_text(), text)
        for figure, value in accepted["cases"]["a"].items():
            with self.subTest(figure=figure):
                changed = json.loads(text)
                changed["cases"]["a"][figure] = "0" * 32 if figure == "digest" else value + 1
                self.golden.write_text(json.dumps(changed))
                answer = basalt(*self.args, "-o", "json")
                self.assertEqual(answer.code, 1, answer)
                said = json.loads(answer.out)["changed"]
                self.assertEqual([(c["case"], c["figure"], c["now"]) for c in said],
                                 [("a", figure, value)])
        self.golden.write_text(text)
        self.suite.write_text(SUITE.replace("name: b", "name: c"))  # a case renamed
        answer = basalt(*self.args)
        self.assertEqual(answer.code, 1)
        self.assertRegex(answer.out, r"b +case +present +removed")

    def test_broken_golden_files(self):
        for text in ["", "{", "[]", "1", "null", '"x"', "{}", '{"schema": 1}',
                     '{"schema": "basalt.bench/2", "cases": {}, "accepted": []}',
                     '{"schema": "basalt.bench/1"}',
                     '{"schema": "basalt.bench/1", "cases": [], "accepted": []}',
                     '{"schema": "basalt.bench/1", "cases": {}, "accepted": 3}',
                     "[" * 200_000, "\xff", "\0"]:
            for more in [[], ["--accept", "--reason", "x"]]:
                with self.subTest(text=text[:60], more=more):
                    self.golden.write_bytes(text.encode("latin-1"))
                    self.bad(*self.args, *more, says=self.golden)
                    self.assertEqual(self.golden.read_bytes(), text.encode("latin-1"))
        for case in ["1", "null", "[]", '{"placed": "many"}']:  # odd cases are changes
            self.golden.write_text('{"schema": "basalt.bench/1", "accepted": [], "cases": '
                                   f'{{"a": {case}}}}}')
            self.assertEqual(basalt(*self.args).code, 1)
        self.golden.unlink()
        self.golden.mkdir()
        self.bad(*self.args, says=[self.golden, "directory"])
        self.bad(*self.args, "--accept", "--reason", "x", says=[self.golden, "directory"])

    def test_broken_suites(self):
        for text, says in [
            ("", "empty"), ("cases: []\n", "suite.yaml:1:8"),
            (SUITE.replace("policy: fgd", "policy: fdg"), 'suite.yaml:2:23: unknown policy "fdg"'),
            (SUITE.replace("name: b", "name: a"), "suite.yaml:3:12"),
            (SUITE.replace("replay", "reply"), "suite.yaml:3:61"),
            (SUITE.replace("nodes: 20", "nodes: 0"), "suite.yaml:2:35"),
            (SUITE.replace("nodes: 20", "nodes: 99999999999"), "suite.yaml:2:35"),
            (SUITE.replace("pods", "pod"), 'did you mean "pods"?'),
        ]:
            with self.subTest(says=says):
                self.suite.write_text(text)
                self.bad(*self.args, says=says)
        self.bad("bench", "--suite", self.dir / "missing", says="missing")

    def test_the_committed_suite(self):
        self.assertEqual(self.ok("bench", cwd=SOURCE).err, "")


class Report(Case):
    def test_saved_data_becomes_the_same_page(self):
        for args in [["sim", *SMALL, "--seeds", "1-2"], ["sim", *SMALL, "--mode", "replay"],
                     ["sim", "--scenario", HAMI]]:
            data, page = self.dir / "d.json", self.dir / "d.html"
            self.ok(*args, "--report", data)
            self.assertEqual(json.loads(data.read_text())["schema"], "basalt.report/1")
            self.ok("report", data, "--out", page)
            html = page.read_text()
            self.assertEqual(html.count('id="basalt-data"'), 1)
            for outside in ["src=\"http", "href=\"http", "@import", "url(http"]:
                self.assertNotIn(outside, html)

    def test_wrong_data(self):
        good = self.dir / "good.json"
        self.ok("sim", *SMALL, "--report", good)
        whole = json.loads(good.read_text())
        texts = ["", "{", "[]", "1", '{"schema": 1}', '{"schema": "basalt.report/1"}',
                 '{"schema": "basalt.report/2", "runs": []}', "[" * 200_000,
                 good.read_text()[:-100], '{"schema": "basalt.report/1", "x": "\xff"}']
        for key in ["runs", "maps", "traces", "causes"]:
            texts += [json.dumps({**whole, key: None}), json.dumps({**whole, key: {}})]
        page = self.file("page.html", "old")
        for text in texts:
            with self.subTest(text=text[:60]):
                data = self.file("data.json", text.encode("latin-1"))
                self.bad("report", data, "--out", page, says=data)
                self.assertEqual(page.read_text(), "old")
        self.bad("report", self.dir / "missing", "--out", page, says="missing")
        self.bad("report", self.dir, "--out", page, says=[self.dir, "directory"])
        self.bad("report", good, says="--out")
        self.bad("report", good, "--out", self.dir / "no/p.html", says="no/p.html")
        self.bad("report", good, "--out", self.dir, says=self.dir)


if __name__ == "__main__":
    unittest.main()
