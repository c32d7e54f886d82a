"""HAMi's before and after, and scenario files that are wrong."""
import json
import time
import unittest

from harness import HAMI, SMALL, Case, basalt

TEXT = HAMI.read_text()


class Hami(Case):
    def arms(self, text=TEXT):
        path = self.file("s.yaml", text)
        return json.loads(self.ok("sim", "--scenario", path, "-o", "json").out)["arms"]

    def test_the_published_numbers(self):
        whole, sliced = self.arms()
        self.assertEqual((whole["cards_taken"], whole["cards"], whole["cells"]), (3, 3, 48))
        self.assertEqual((whole["cells_stranded"], whole["cells_schedulable"]), (36, 0))
        self.assertEqual((sliced["cards_taken"], sliced["cards"]), (1, 3))
        self.assertEqual((sliced["cells_stranded"], sliced["cells_schedulable"]), (0, 36))
        for arm in (whole, sliced):
            self.assertEqual((arm["placed"], arm["waiting"], arm["cells_needed"]), (3, 0, 12))
            self.assertEqual(arm["reasons"], [])
        table = self.ok("sim", "--scenario", HAMI).out
        self.assertRegex(table, r"Whole cards +3 +0 +3 of 3 +12 of 48 +36 +0\n")
        self.assertRegex(table, r"Sliced +3 +0 +1 of 3 +12 of 48 +0 +36\n")

    def test_cells_follow_from_requests(self):
        # C at 40 %: ceil(16 x 0.40) = 7 cells instead of 3, which no longer fits beside A and B
        # (5 + 4 + 7 = 16 does fit exactly; 41 % is 7 as well; 45 % is 8 and does not).
        changed = TEXT.replace("memory_percent: 18, compute_percent: 15",
                               "memory_percent: 40, compute_percent: 40")
        whole, sliced = self.arms(changed)
        self.assertEqual((whole["cells_needed"], whole["cells_stranded"]), (16, 32))
        self.assertEqual((sliced["cells_needed"], sliced["cells_schedulable"]), (16, 32))
        self.assertEqual(sliced["cards_taken"], 1)
        _, sliced = self.arms(changed.replace("memory_percent: 40", "memory_percent: 45"))
        self.assertEqual((sliced["cells_needed"], sliced["cards_taken"]), (17, 2))
        self.assertEqual(sliced["cells_schedulable"] + sliced["cells_stranded"], 31)
        # The larger of the two dimensions counts.
        _, sliced = self.arms(TEXT.replace("compute_percent: 15", "compute_percent: 100"))
        self.assertEqual((sliced["cells_needed"], sliced["cards_taken"]), (5 + 4 + 16, 2))

    def test_sums(self):
        for cells in [1, 7, 16, 32]:
            for arm in self.arms(TEXT.replace("cells_per_card: 16", f"cells_per_card: {cells}")):
                self.assertEqual(arm["cells"], 3 * cells)
                self.assertEqual(arm["cells"], arm["cells_needed"] + arm["cells_stranded"] +
                                 arm["cells_schedulable"])
                self.assertGreaterEqual(arm["cells_stranded"], 0)

    def test_pods_that_wait_say_why(self):
        crowded = self.file("s.yaml", TEXT.replace("{name: A,", "{name: A, count: 2000,"))
        answer = self.ok("sim", "--scenario", crowded, "-o", "json")
        for arm in json.loads(answer.out)["arms"]:
            self.assertEqual(arm["placed"] + arm["waiting"], 2002)
            self.assertTrue(1 <= len(arm["reasons"]) <= 100)
            self.assertIn("1 node: ", arm["reasons"][0])
        self.assertLess(len(answer.err.splitlines()), 250)

    def test_report(self):
        page = self.dir / "r.html"
        answer = self.ok("sim", "--scenario", HAMI, "--report", page)
        self.assertIn(str(page), answer.err)
        text = page.read_text()
        self.assertIn("basalt-data", text)
        self.assertGreater(len(text), 10_000)
        data = self.dir / "r.json"
        self.ok("sim", "--scenario", HAMI, "--report", data)
        saved = json.loads(data.read_text())
        self.assertEqual([a["name"] for a in saved["comparison"]["arms"]],
                         ["Whole cards", "Sliced"])
        self.ok("report", data, "--out", self.dir / "again.html")


class Wrong(Case):
    def wrong(self, text, *says):
        return self.bad("sim", "--scenario", self.file("s.yaml", text), says=says)

    def swap(self, old, new, *says):
        self.assertIn(old, TEXT)
        return self.wrong(TEXT.replace(old, new, 1), *says)

    def test_keys(self):
        answer = self.swap("policy: binpack", "polcy: binpack", "s.yaml:17:39: unknown key",
                           'did you mean "policy"?')
        self.assertEqual(len(answer.err.splitlines()), 1)
        self.swap("cells_per_card", "cels_per_card", "s.yaml:5:1",
                  'did you mean "cells_per_card"?')
        self.swap("compute_percent: 25", "compute_percent: 25, compute_percent: 25",
                  "s.yaml:13:", "stands twice")
        self.swap("    cards: 3\n", "", "s.yaml:7:5", '"cards" is missing')
        self.wrong("{}", '"scenario" is missing', '"nodes" is missing', '"arms" is missing')
        self.swap("cards: 3", "? [1, 2]\n    : x\n    cards: 3", "s.yaml:10:")

    def test_values(self):
        for old, new, place in [
            ("cards: 3", "cards: -1", "s.yaml:10:12"), ("cards: 3", "cards: 65", "s.yaml:10:12"),
            ("cards: 3", "cards: 3.5", "s.yaml:10:12"), ("cards: 3", "cards: three",
                                                         "s.yaml:10:12"),
            ("cards: 3", "cards: 99999999999999999999", "s.yaml:10:12"),
            ("cards: 3", "cards: [3]", "s.yaml:10:12"), ("cards: 3", "cards:", "s.yaml:1"),
            ("memory_percent: 30", "memory_percent: 300", "s.yaml:13:31"),
            ("memory_percent: 30", "memory_percent: 30%", "s.yaml:13:31"),
            ("cells_per_card: 16", "cells_per_card: 0", "s.yaml:5:17"),
            ("name: gpu-node", "name: {a: b}", "s.yaml:7:11"),
            ("cards: whole", "cards: hole", "s.yaml:17:32"),
        ]:
            with self.subTest(new=new):
                self.swap(old, new, place)
        self.swap("nodes:\n", "nodes: 3\nx:\n", "s.yaml:6:8", "must be a list")
        self.swap("policy: binpack", "policy: pack", "s.yaml:17:47", 'did you mean "binpack"?')
        self.swap("name: B", "name: A", "s.yaml", '"A" stands twice')
        self.wrong(TEXT[:TEXT.index("arms:")] + "arms: []\n", "s.yaml:16:7", "at least one arm")

    def test_all_errors_at_once_but_not_endlessly(self):
        answer = self.wrong(TEXT.replace("policy", "polcy").replace("cards: 3", "cards: x"))
        self.assertEqual(len(answer.err.splitlines()), 3)
        answer = self.wrong("".join(f"k{i}: 1\n" for i in range(50_000)))
        self.assertLess(len(answer.err.splitlines()), 30)

    def test_no_yaml(self):
        for what, text, says in [
            ("empty", "", "is empty"), ("comment", "# nothing\n", "is empty"),
            ("null", "~\n", "is empty"), ("list", "- a\n", "s.yaml:1:1"),
            ("word", "hello\n", "s.yaml:1:1"), ("tab", "\ta: b\n", "s.yaml:1:"),
            ("tab inside", "nodes:\n\t- a\n", "s.yaml:2:"), ("open list", "a: [1,\n", "s.yaml:"),
            ("open quote", 'a: "b\n', "s.yaml:"), ("open map", "a: {b: 1\n", "s.yaml:"),
            ("alias to nothing", "a: *b\n", "s.yaml:1:4"), ("two keys", "a: b: c\n", "s.yaml:1:"),
            ("NUL", "a: b\0\n", "NUL"), ("two documents", TEXT + "---\n" + TEXT, "s.yaml:"),
            ("binary", bytes(range(128, 256)), "s.yaml"),
            ("merge key", "<<: *a\n", "s.yaml:1:"),
        ]:
            with self.subTest(what=what):
                self.wrong(text, says)

    def test_bombs(self):
        laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
        many = TEXT.replace("  - {name: B", "  - &b {name: B").replace(
            "arms:", "".join("  - *b\n" for _ in range(20_000)) + "arms:")
        for what, text in [
            ("aliases", laughs), ("deep list", "a: " + "[" * 100_000 + "]" * 100_000),
            ("deep map", "a: " + "{a: " * 100_000), ("deep blocks", "- " * 100_000 + "a"),
            ("self", "nodes: &n [*n]\nscenario: x\npods: []\narms: []\n"),
            ("the same pod often", many), ("large", "a: 1\n" * 4_000_000),
            ("a billion cards", TEXT.replace("    cards: 3", "    count: 10000\n    cards: 64")),
            ("a million pods", TEXT.replace("{name: A", "{name: A, count: 100000").replace(
                "{name: B", "{name: B, count: 100000")),
        ]:
            with self.subTest(what=what):
                start = time.monotonic()
                self.wrong(text, "s.yaml")
                self.assertLess(time.monotonic() - start, 10)

    def test_the_largest_allowed_is_quick(self):
        text = TEXT.replace("    cards: 3", "    count: 400\n    cards: 64").replace(
            "{name: A", "{name: A, count: 99998")
        answer = self.ok("sim", "--scenario", self.file("s.yaml", text), "-o", "json", timeout=20)
        for arm in json.loads(answer.out)["arms"]:
            self.assertEqual(arm["placed"] + arm["waiting"], 100_000)

    def test_files_and_options(self):
        self.bad("sim", "--scenario", self.dir / "missing", says=[self.dir / "missing"])
        self.bad("sim", "--scenario", self.dir, says=[self.dir, "directory"])
        self.bad("sim", "--scenario", HAMI, *SMALL, says="--scenario")
        self.bad("sim", "--scenario", HAMI, "--report", self.dir / "no/r.html",
                 says=self.dir / "no/r.html")

    def test_line_ends_and_mark(self):
        plain = basalt("sim", "--scenario", HAMI, "-o", "csv").out
        for text in [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode()]:
            self.assertEqual(plain, self.ok("sim", "--scenario", self.file("s.yaml", text), "-o",
                                            "csv").out)


if __name__ == "__main__":
    unittest.main()
