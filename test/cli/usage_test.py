"""basalt report usage and basalt plan oversubscription: formats, attribution, refusals."""
import json
import math
import unittest

from harness import SOURCE, Case

TASKS = ("job_id,task,gpu_num,gpu_milli,gpu_mem_mib,cpu_milli,memory_mib\n"
         "ns/a,main,1,1000,,1000,1024\nns/b,main,1,500,10240,1000,1024\n")
JOBS = ("job_id,tenant,kind,start_s,end_s,extra\n"
        'ns/a,ads/rank,train,0,36000,\nns/b,maps,infer,0,36000,"{""sku"":""half-a100""}"\n')
NODES = "node_id,model,gpu_count,gpu_mem_mib,cpu_milli,memory_mib\nn0,A100,2,40960,64000,262144\n"
PLACEMENTS = ("job_id,task,replica,node_id,gpu_ids,start_s,end_s\n"
              "ns/a,main,0,n0,0,0,36000\nns/b,main,0,n0,1,0,36000\n")
ZERO = 1767225600  # 2026-01-01


def series(name, labels, values):
    return {"metric": {"__name__": name, **labels}, "values": values}


def answer(*items):
    return json.dumps({"status": "success",
                       "data": {"resultType": "matrix", "result": list(items)}})


class Usage(Case):
    def setUp(self):
        super().setUp()
        self.trace = self.dir / "t"
        self.write(JOBS, TASKS, PLACEMENTS)

    def write(self, jobs, tasks, placements, zero="2026-01-01T00:00:00Z"):
        # A table that is empty here is left out.
        for name, text in {"nodes.csv": NODES, "jobs.csv": jobs, "tasks.csv": tasks,
                           "placements.csv": placements}.items():
            if text:
                self.file(f"t/{name}", text)
        count = lambda text: len(text.splitlines()) - 1 if text else 0
        counts = {"nodes": count(NODES), "jobs": count(jobs), "tasks": count(tasks)}
        if placements:
            counts["placements"] = count(placements)
        self.file("t/manifest.json", json.dumps(
            {"format": "gputrace/1", "source": "test", "time_zero": zero, "time_unit": "s",
             "files": [], "importer": "test", "counts": counts}))

    def measured(self):
        hours = [ZERO + 3600 * h for h in range(10)]
        return self.file("range.json", answer(
            series("DCGM_FI_DEV_GPU_UTIL",
                   {"gpu": "0", "UUID": "GPU-0", "Hostname": "n0", "exported_pod": "a",
                    "exported_namespace": "ns"}, [[t, "60"] for t in hours]),
            series("hami_container_device_utilization_ratio",
                   {"namespace": "ns", "pod": "b", "container": "m", "device_uuid": "GPU-1"},
                   [[t, "1"] for t in hours]),
            series("hami_host_gpu_memory_used_bytes",
                   {"node": "n0", "device_index": "1", "device_uuid": "GPU-1"},
                   [[t, str(2 << 30)] for t in hours]),
            series("go_threads", {}, [[t, "7"] for t in hours])))

    def report(self, *args):
        return self.ok("report", "usage", "--trace", self.trace, "--usage", self.measured(), *args)

    def test_json(self):
        said = self.report("-o", "json")
        data = json.loads(said.out)
        self.assertAlmostEqual(data["total"]["allocated_gpu_hours"], 15)
        self.assertAlmostEqual(data["total"]["measured_gpu_hours"], 15)
        self.assertAlmostEqual(data["tenants"]["ads/rank"]["used_gpu_hours"], 6)
        self.assertAlmostEqual(data["departments"]["ads"]["wasted_gpu_hours"], 4)
        self.assertAlmostEqual(data["skus"]["half-a100"]["used_gpu_hours"], 0.1)
        self.assertAlmostEqual(data["skus"]["half-a100"]["idle_gpu_hours"], 5)
        self.assertAlmostEqual(data["skus"]["half-a100"]["memory_used_gib_hours"], 20)
        self.assertEqual([j["job"] for j in data["wasters"]], ["ns/b", "ns/a"])
        self.assertEqual([c["card"] for c in data["cards"]], ["0", "1"])
        self.assertAlmostEqual(data["cards"][1]["memory_mean_mib"], 2048)
        self.assertEqual(data["left_out"]["unknown_metrics"], {"go_threads": 10})
        self.assertIn("15.0 of 15.0 allocated GPU-hours were measured (100.0 %)", said.err)
        self.assertIn("go_threads", said.err)

    def test_tables(self):
        self.assertIn("ads/rank", self.report().out)
        self.assertIn("half-a100", self.report("--by", "sku", "-o", "csv").out)
        self.assertIn("| total |", self.report("--by", "department", "-o", "markdown").out)
        card = self.report("--by", "card", "-o", "csv").out.splitlines()
        self.assertEqual(card[1], "n0,0,A100,100.0,100.0,60.0,n/a")
        self.assertEqual(len(self.report("--by", "job", "--top", 1, "-o", "csv").out.splitlines()),
                         2)
        self.assertEqual(json.loads(self.report("--idle-for", 11, "-o", "json").out)["total"]
                         ["idle_jobs"], 0)

    def test_a_part_measured(self):
        scrape = self.file("one.prom", "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",Hostname=\"n0\"} 50 "
                                       f"{ZERO}000\n")
        data = json.loads(self.ok("report", "usage", "--trace", self.trace, "--usage", scrape,
                                  "--hold", 3600, "-o", "json").out)
        self.assertAlmostEqual(data["total"]["measured_gpu_hours"], 1)
        self.assertAlmostEqual(data["total"]["used_gpu_hours"], 0.5)
        self.assertAlmostEqual(data["total"]["measured_pct"], 100 / 15)
        none = self.ok("report", "usage", "--trace", self.trace)
        self.assertIn("(0.0 %)", none.err)
        self.assertIn("n/a", none.out)

    def test_uuids_without_numbers(self):
        busy = lambda uuid, value: (f'hami_host_gpu_utilization_ratio{{node="n0",'
                                    f'device_uuid="{uuid}"}} {value}\n')
        scrape = self.file("one.prom", busy("GPU-b", 40) + busy("GPU-a", 60))
        said = self.ok("report", "usage", "--trace", self.trace, "--usage", scrape, "--by", "card",
                       "-o", "csv")
        self.assertEqual([row.split(",")[:2] + row.split(",")[5:6] for row in
                          said.out.splitlines()[1:]], [["n0", "0", "40.0"], ["n0", "1", "60.0"]])
        self.assertIn("note: 2 cards have a UUID and no number", said.err)

    def test_nothing_measured(self):
        usage = ["report", "usage", "--trace", self.trace]
        for name, text in {"empty.prom": "", "blank.prom": "\n# EOF\n", "none.json": answer()}.items():
            self.bad(*usage, "--usage", self.file(name, text), says=[name, "no samples in"])
        # Samples of no use are told as such, not refused.
        other = self.ok(*usage, "--usage", self.file("other.prom", "up 1\n"))
        self.assertIn("left out: 1 samples", other.err)

    def test_refusals(self):
        usage = ["report", "usage", "--trace", self.trace]
        bad = self.file("bad.prom", "up 1\nDCGM_FI_DEV_GPU_UTIL{gpu=0} 1\n")
        self.bad(*usage, "--usage", bad, says="bad.prom:2:26: expected \"")
        cut = self.file("cut.json", answer()[:-4])
        self.bad(*usage, "--usage", cut, says="cut.json:1:")
        self.bad(*usage, "--usage", self.dir / "none", says="none")
        self.bad(*usage, "--by", "colour", says="--by")
        self.bad(*usage, "--idle-below", 0, says="--idle-below")
        self.bad("report", "usage", says="--trace")
        self.bad(*usage, "--from", 5, "--to", 5, says="window")
        self.write(JOBS, TASKS, PLACEMENTS, zero=None)
        self.bad(*usage, "--usage", self.measured(), says="time_zero")
        self.bad("report", says="data")
        self.bad("report", bad, says="--out")

    def test_plan_from_measurements(self):
        (self.trace / "placements.csv").unlink()
        self.write(JOBS.replace("36000", "1209600"), TASKS, "")
        quarter = [ZERO + 900 * i for i in range(14 * 96)]
        load = lambda t: 20 + 18 * math.sin(2 * math.pi * (t - ZERO) / 86400)
        usage = self.file("r.json", answer(
            series("hami_container_device_utilization_ratio",
                   {"namespace": "ns", "pod": "b", "device_uuid": "GPU-1"},
                   [[t, f"{load(t):.3f}"] for t in quarter])))
        said = self.ok("plan", "oversubscription", "--trace", self.trace, "--usage", usage,
                       "--risk", "0,1", "-o", "json")
        rows = json.loads(said.out)
        # 38 % of a card at the peak, of half a card asked: two fit, a third would not.
        self.assertEqual([r["services"] for r in rows], [2, 2])
        self.assertEqual(rows[0]["compute_pct"], 100)
        self.assertIn("ns/b: 1344 samples, peak 76% of its request", said.err)
        self.bad("plan", "oversubscription", "--trace", self.trace, says="measurements")


class Plan(Case):
    EXAMPLE = SOURCE / "examples/oversubscription.yaml"

    def test_example(self):
        rows = json.loads(self.ok("plan", "oversubscription", self.EXAMPLE, "--phasing",
                                  "staggered,0.5,all-by-day", "-o", "json").out)
        self.assertEqual(len(rows), 12)
        for days in ("staggered", "0.5", "all-by-day"):
            found = [r["compute_pct"] for r in rows if r["days"] == days]
            self.assertEqual(found, sorted(found))
            self.assertGreater(found[0], 100)
        for r in rows:
            self.assertLessEqual(r["overload_minutes"], r["risk_pct"] / 100 * 43200 + 1e-6)
            self.assertGreater(r["next_overload_minutes"], r["risk_pct"] / 100 * 43200)
        for fmt in ("table", "csv", "markdown"):
            self.assertIn("staggered", self.ok("plan", "oversubscription", self.EXAMPLE,
                                               "--phasing", "staggered", "-o", fmt).out)

    def test_the_limit_of_the_search_is_told(self):
        plan = self.file("p.yaml", "services:\n- {name: s, shape: flat, compute_milli: 0, "
                                   "memory_mib: 1}\n")
        said = self.ok("plan", "oversubscription", plan, "--risk", "1")
        self.assertIn("none, search limit", said.out)
        self.assertIn("the search ends at 1000 services", said.err)
        row = json.loads(self.ok("plan", "oversubscription", plan, "--risk", "1",
                                 "-o", "json").out)[0]
        self.assertEqual((row["services"], row["unlimited"]), (1000, True))
        self.assertNotIn("search", self.ok("plan", "oversubscription", self.EXAMPLE).err)

    def test_binomial(self):
        plan = self.file("p.yaml", "services:\n- {name: s, day: [" + "100, " * 23 + "100], "
                                   "compute_milli: 250, use: on-off}\n")
        row = json.loads(self.ok("plan", "oversubscription", plan, "--risk", "0.1",
                                 "-o", "json").out)[0]
        above = lambda n: sum(math.comb(n, i) * 0.1 ** i * 0.9 ** (n - i) for i in range(5, n + 1))
        n = max(n for n in range(4, 20) if above(n) <= 0.001)
        self.assertEqual(row["services"], n)
        self.assertAlmostEqual(row["overload_minutes"], above(n) * 43200)

    def test_refusals(self):
        plan = ["plan", "oversubscription"]
        self.bad("plan", says="subcommand")
        self.bad(*plan, says="--trace")
        self.bad(*plan, self.EXAMPLE, "--trace", self.dir, says="either")
        self.bad(*plan, self.EXAMPLE, "--risk", "x", says="--risk")
        self.bad(*plan, self.EXAMPLE, "--risk", "101", says="--risk")
        self.bad(*plan, self.EXAMPLE, "--phasing", "night", says="--phasing")
        self.bad(*plan, self.EXAMPLE, "--correlation", 101, says="--correlation")
        for text, says in {
            "services: []\n": "at least one service",
            "services:\n- {name: s, shape: flt}\n": "did you mean \"flat\"",
            "services:\n- {name: s}\n": "either a shape or",
            "services:\n- {name: s, shape: flat, peek_percent: 5}\n": "peak_percent",
            "services:\n- {name: s, day: [1, 2]}\n": "24 or 96",
            "services:\n- {name: s, shape: flat, week: [1]}\n": "7 factors",
            "services:\n- {name: s, shape: flat, use: maybe}\n": "level or on-off",
            "services:\n- {name: s, shape: flat, noise_percent: 101}\n": "noise_percent",
            "card: {compute_milli: 0}\nservices:\n- {name: s, shape: flat}\n": "compute or memory",
        }.items():
            with self.subTest(text=text):
                self.bad(*plan, self.file("p.yaml", text), says=[says, "p.yaml"])


if __name__ == "__main__":
    unittest.main()
