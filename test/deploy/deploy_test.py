"""deploy/: dashboards and alert rules ask for what a running server writes, and the chart renders.

A `basalt serve` is started, a small cluster is told to it and decided for (drive), and a real
Prometheus scrapes it. What needs a program that is not installed (promtool, prometheus, go) is left
out, and says so.
"""
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = ROOT / "deploy" / "helm" / "basalt"
RULES = CHART / "files" / "rules.yaml"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))

# Every scrape has these from the scraper.
SCRAPED = {"instance", "job"}
KEYWORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless",
            "bool", "offset", "le"}
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"'


CLUSTER = "prod"  # of drive
SERVE = """
listen_unix: {folder}/basalt.sock
listen_http: 127.0.0.1:0
store: {folder}/store
skus: {folder}/skus.yaml
drain_timeout_s: 0
clusters:
  - id: prod
    target_skus: [whole]
"""
SKUS = "skus:\n  - {name: whole, gpus: 1, gpu_milli: 1000, cpu_milli: 4000, memory_mib: 16384," \
       " price_milli_per_hour: 1000, currency: USD}\n"


def run(*command, text=None):
    return subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True,
                          cwd=HERE, timeout=120)


@functools.cache
def tools():
    """Folder of render and drive, built once; None without go."""
    go = shutil.which("go")
    if not go:
        return None
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    subprocess.run([go, "build", "-ldflags=-s -w", "-o", folder.name + "/", "./..."], cwd=HERE,
                   check=True, timeout=1200, env=os.environ | {
                       "CGO_ENABLED": "0", "GOWORK": "off",
                       "GOFLAGS": "-mod=readonly -buildvcs=false"})
    return pathlib.Path(folder.name)


def basalt():
    binary = os.environ.get("BASALT_BIN")
    return binary if binary and os.access(binary, os.X_OK) else None


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Server:
    """`basalt serve` with an empty store; drive() makes it busy until stop()."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "serve.yaml").write_text(SERVE.format(folder=folder))
        (folder / "skus.yaml").write_text(SKUS)
        self.log = folder / "log"
        self.driver = None
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [basalt(), "serve", "--config", folder / "serve.yaml"], stderr=log)
        ends = time.monotonic() + 30
        while not (at := re.search(r'"protocol":"http","address":"(127\.0\.0\.1:\d+)"',
                                   self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise RuntimeError("basalt serve: " + self.log.read_text())
            time.sleep(0.02)
        self.address = at[1]

    def drive(self):
        self.driver = subprocess.Popen([tools() / "drive", self.folder / "basalt.sock"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        if self.driver.stdout.readline() != "driven\n":
            raise RuntimeError(self.driver.stderr.read())

    def stop(self):
        if self.driver:
            with contextlib.suppress(BrokenPipeError):
                self.driver.communicate(timeout=30)
        self.process.terminate()
        self.process.wait(30)


@functools.cache
def scrape():
    """What a driven server writes: sample name -> label -> values."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder))
        try:
            server.drive()
            return read_scrape(fetch(f"http://{server.address}/metrics"))
        finally:
            server.stop()


def read_scrape(text):
    metrics = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert match, f"no sample: {line}"
        labels = metrics.setdefault(match[1], {})
        for name, _, value in re.findall(LABEL, match[2] or ""):
            labels.setdefault(name, set()).add(value)
    return metrics


def live(test):
    """Skips a test that needs a running server where there is none to run."""
    if not basalt():
        test.skipTest("BASALT_BIN names no program")
    if not tools():
        test.skipTest("go is not installed")


def check_expression(text, metrics):
    """What is wrong with a PromQL expression, as a list; and the labels of its result."""
    wrong = []
    known = set()
    rest = text
    # Selectors first: name{matchers}. What is left has no braces.
    for name, matchers in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^{}]*)\}", text):
        if name not in metrics:
            wrong.append(f"no metric {name}")
            continue
        for label, op, value in re.findall(LABEL, matchers):
            if label not in metrics[name] and label not in SCRAPED:
                wrong.append(f"{name} has no label {label}")
            elif op == "=" and "$" not in value and value not in metrics[name].get(label, ()):
                wrong.append(f"{name} never has {label}=\"{value}\"")
        if re.sub(LABEL, "", matchers).strip(" ,"):
            wrong.append(f"matchers of {name}: {matchers}")
    rest = re.sub(r"\{[^{}]*\}", " ", rest)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    grouped = re.findall(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)", rest)
    rest = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^()]*\)", " ", rest)
    for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b", rest):
        if name in KEYWORDS or re.search(rf"\b{name}\s*\(", rest):
            continue
        if name not in metrics:
            wrong.append(f"no metric {name}")
        else:
            known |= set(metrics[name])
    names = re.findall(r"\bbasalt_[a-z0-9_]+", text)
    if not names:
        wrong.append("asks for nothing of the server's")
    result = None
    for kind, labels in grouped:
        labels = {label.strip() for label in labels.split(",") if label.strip()}
        for label in labels:
            if not any(label in metrics.get(name, ()) for name in names):
                wrong.append(f"{kind} ({label}): no metric there has it")
        if kind == "by":
            result = labels if result is None else result | labels
    if result is None:
        bare = not re.search(r"\b(sum|min|max|avg|count|absent)\s*\(", rest)
        result = (known | SCRAPED) if bare else set()
    return wrong, result


def expressions():
    """(where, expression, labels that texts beside it use)."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                used = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
                yield f"{path.name}: {panel['title']}", target["expr"], used
    for name, rule in rules().items():
        yield f"{RULES.name}: {name}", rule["expr"], set(
            re.findall(r"\$labels\.(\w+)", rule["text"]))


def rules():
    """Name -> expression and the texts beside it. promtool reads the file as YAML."""
    found = {}
    for block in re.split(r"\n\s*- alert: ", RULES.read_text())[1:]:
        name, text = block.split("\n", 1)
        found[name] = {"expr": re.search(r"^\s*expr: (.*)$", text, re.M)[1], "text": text}
    return found


def variables(dashboard):
    return {v["name"]: v for v in dashboard["templating"]["list"] if v["type"] == "query"}


class Queries(unittest.TestCase):
    def setUp(self):
        live(self)
        self.metrics = scrape()

    def test_every_query_asks_for_what_is_written(self):
        checked = 0
        for where, expression, used in expressions():
            with self.subTest(where):
                wrong, result = check_expression(expression, self.metrics)
                self.assertEqual(wrong, [])
                self.assertLessEqual(used, result, "a text names a label that the result lacks")
                checked += 1
        self.assertGreater(checked, 60)

    def test_variables_are_labels_of_metrics(self):
        for path in DASHBOARDS:
            dashboard = json.loads(path.read_text())
            known = variables(dashboard)
            for variable in known.values():
                match = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)",
                                     variable["query"]["query"])
                self.assertIsNotNone(match, variable["name"])
                self.assertIn(match[3], self.metrics[match[1]])
            for name in set(re.findall(r"\$(\w+)", " ".join(
                    t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])))):
                self.assertIn(name, set(known) | {"__rate_interval"})

    def test_panels_do_not_overlap_and_are_numbered(self):
        for path in DASHBOARDS:
            panels = json.loads(path.read_text())["panels"]
            self.assertEqual(len({p["id"] for p in panels}), len(panels))
            cells = set()
            for panel in panels:
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24)
                mine = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                        for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & mine, f"{path.name}: {panel['title']}")
                cells |= mine

    def test_every_metric_is_on_a_dashboard(self):
        asked = " ".join(e for _, e, _ in expressions())
        for name in self.metrics:
            # A counter's or a histogram's family is enough: its parts are one thing.
            with self.subTest(name):
                self.assertRegex(asked, rf"\b{name}\b", "nobody would ever see it")

    def test_counters_are_there_before_their_first_event(self):
        """Else a rate or an increase would miss it."""
        with tempfile.TemporaryDirectory() as folder:
            server = Server(pathlib.Path(folder))
            self.addCleanup(server.stop)
            quiet = read_scrape(fetch(f"http://{server.address}/metrics"))
        # What came of decisions has labels that only a decision gives.
        counters = {m for m in self.metrics if m.endswith("_total")} - {"basalt_outcomes_total"}
        self.assertEqual(counters - set(quiet), set())
        self.assertGreater(len(counters), 10)

    def test_every_metric_is_documented(self):
        text = (ROOT / "docs" / "serve.md").read_text()
        for name in self.metrics:
            family = re.sub(r"_(bucket|sum|count)$", "", name).removeprefix("basalt_")
            with self.subTest(name):
                self.assertRegex(text, rf"`{family}(\{{[^`]*)?`")

    def test_the_check_finds_mistakes(self):
        for expression, word in [
                ("basalt_redy", "no metric basalt_redy"),
                ('sum(basalt_cards{clutser="a"})', "no label clutser"),
                ('sum(basalt_model_cards{state="sick"})', 'never has state="sick"'),
                ("sum by (queue) (basalt_cards)", "by (queue)"),
                ("sum(rate(basalt_cards_total[5m])) / sum(basalt_cards)", "basalt_cards_total"),
                ("vector(1)", "nothing of the server's")]:
            wrong, _ = check_expression(expression, self.metrics)
            self.assertTrue(any(word in w for w in wrong), f"{expression}: {wrong}")
        _, result = check_expression("sum by (cluster) (basalt_cards)", self.metrics)
        self.assertEqual(result, {"cluster"})


class Rules(unittest.TestCase):
    def test_every_rule_has_a_runbook(self):
        page = (ROOT / "docs" / "live.md").read_text()
        for name, rule in rules().items():
            with self.subTest(name):
                self.assertRegex(rule["text"], rf"runbook: docs/live\.md#{name.lower()}(\n|$)")
                self.assertIn(f"\n#### {name}\n", page)

    def test_every_rule_is_shown_to_fire(self):
        text = (HERE / "rules_test.yaml").read_text()
        fired = re.findall(r"alertname: (\w+)\n\s*exp_alerts:\n\s*- ", text)
        self.assertEqual(set(rules()) - set(fired), set(), "nothing shows that it ever fires")


class Promtool(unittest.TestCase):
    def setUp(self):
        self.promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
        if not self.promtool:
            self.skipTest("promtool is not installed")

    def test_rules_parse(self):
        done = run(self.promtool, "check", "rules", RULES)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{len(rules())} rules found", done.stdout + done.stderr)

    def test_rules_fire_when_they_should(self):
        done = run(self.promtool, "test", "rules", HERE / "rules_test.yaml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_the_server_writes_is_well_formed(self):
        live(self)
        with tempfile.TemporaryDirectory() as folder:
            server = Server(pathlib.Path(folder))
            self.addCleanup(server.stop)
            server.drive()
            done = run(self.promtool, "check", "metrics",
                       text=fetch(f"http://{server.address}/metrics"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus(unittest.TestCase):
    """A real Prometheus scrapes a real server, and every query answers."""

    @classmethod
    def setUpClass(cls):
        program = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
        if not program:
            raise unittest.SkipTest("prometheus is not installed")
        if not basalt() or not tools():
            raise unittest.SkipTest("no server to scrape: BASALT_BIN and go are needed")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(pathlib.Path(folder.name))
        cls.addClassCleanup(cls.server.stop)
        config = pathlib.Path(folder.name) / "prometheus.yml"
        config.write_text(f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: basalt
    static_configs: [{{targets: ["{cls.server.address}"]}}]
""")
        cls.port = free_port()
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={folder.name}/data",
             f"--web.listen-address=127.0.0.1:{cls.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def stop():
            process.terminate()
            process.wait(30)

        cls.addClassCleanup(stop)
        ends = time.monotonic() + 90

        def samples(count):
            while True:
                with contextlib.suppress(OSError, IndexError):
                    if float(cls.ask("count_over_time(basalt_ready[5m])")[0]["value"][1]) >= count:
                        return
                if time.monotonic() > ends or process.poll() is not None:
                    raise RuntimeError("prometheus does not scrape")
                time.sleep(0.1)

        samples(1)  # before anything has happened: the first event of a kind is seen as one
        cls.server.drive()
        samples(6)

    @classmethod
    def ask(cls, query):
        return cls.api("query?" + urllib.parse.urlencode({"query": query}))["result"]

    @classmethod
    def api(cls, path):
        return json.loads(fetch(f"http://127.0.0.1:{cls.port}/api/v1/{path}"))["data"]

    @staticmethod
    def query(expression):
        """As Grafana asks: all clusters, models and queues are chosen."""
        return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))

    def test_every_dashboard_query_answers(self):
        for path in DASHBOARDS:
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel.get("targets", []):
                    query = self.query(target["expr"])
                    with self.subTest(f"{path.name}: {panel['title']}", query=query):
                        values = self.ask(query)
                        self.assertTrue(values, "no data")
                        self.assertNotIn("NaN", [v["value"][1] for v in values] if len(values) == 1
                                         else [], "a division by nothing")

    def test_variables_find_values(self):
        for path in DASHBOARDS:
            for variable in variables(json.loads(path.read_text())).values():
                match = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)",
                                     variable["query"]["query"])
                values = self.api(f"label/{match[2]}/values?" + urllib.parse.urlencode(
                    {"match[]": match[1]}))
                self.assertTrue(values, variable["name"])

    def test_panels_show_what_was_driven(self):
        for query, value in [
                ("sum(basalt_cards)", 9),  # ten, one of them is ill
                ('sum(basalt_model_cards{state="unhealthy"})', 1),
                ("sum(basalt_gangs)", 1),
                ("sum(basalt_mismatches_total)", 1),
                ("sum(basalt_grants_unread_total)", 1),
                ("sum(basalt_sync_rejected_total)", 1),
                ('sum(basalt_queue_held{queue="narrow",resource="gpu"})', 300),
                ("sum(basalt_usage_compute_milli)", 700),
                ("min(basalt_ready)", 1)]:
            self.assertEqual([float(v["value"][1]) for v in self.ask(query)], [value], query)
        self.assertGreater(float(self.ask("sum(basalt_fragment_milli)")[0]["value"][1]), 0)
        rate = self.ask('sum(rate(basalt_call_seconds_count{call="reserve"}[1m]))')
        self.assertGreater(float(rate[0]["value"][1]), 0)

    def test_rules_are_evaluated_and_see_what_was_driven(self):
        loaded = self.api("rules")["groups"][0]["rules"]
        self.assertEqual({r["name"] for r in loaded}, set(rules()))
        self.assertEqual([r["name"] for r in loaded if r["health"] == "err"], [])
        # Whatever a rule compares, there is something to compare.
        for name, rule in rules().items():
            for selector in re.findall(r"basalt_\w+(?:\{[^}]*\})?", rule["expr"]):
                with self.subTest(name, selector=selector):
                    self.assertTrue(self.ask(selector), "no data")
        wanted = {"BasaltGrantsDiffer", "BasaltAnnotationsUnread", "BasaltSyncRejects",
                  "BasaltCardsUnhealthy"}
        ends = time.monotonic() + 20
        while True:
            active = {a["labels"]["alertname"] for a in self.api("alerts")["alerts"]}
            if active == wanted or time.monotonic() > ends:
                break
            time.sleep(0.5)
        self.assertEqual(active, wanted)


class Chart(unittest.TestCase):
    def texts(self):
        return {p.name: p.read_text() for p in sorted((CHART / "templates").iterdir())}

    def test_values_are_used_and_known(self):
        keys, stack = set(), []
        for line in (CHART / "values.yaml").read_text().splitlines():
            match = re.match(r"( *)(\w+):", line)
            if not match:
                continue
            stack = stack[:len(match[1]) // 2] + [match[2]]
            keys.add(".".join(stack))
        used = set()
        for text in self.texts().values():
            used |= set(re.findall(r"\.Values\.([\w.]+)", text))
        self.assertEqual(used - keys, set(), "not in values.yaml")
        unused = {k for k in keys if not any(
            k == u or k.startswith(u + ".") or u.startswith(k + ".") for u in used)}
        self.assertEqual(unused, set(), "no template uses it")

    def render(self, change=lambda values: None):
        """Helm's own lint and templates: documents, or what it says is wrong."""
        try:
            import yaml
        except ImportError:
            self.skipTest("python3-yaml is not installed")
        if not tools():
            self.skipTest("go is not installed")
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        change(values)
        done = run(tools() / "render", CHART, json.dumps(values))
        if done.returncode != 0:
            return done.stderr
        return [d for d in yaml.safe_load_all(done.stdout) if d]

    @staticmethod
    def everything(values):
        for part in ("volcano", "kubeScheduler", "sync", "serviceMonitor", "prometheusRule",
                     "dashboards"):
            values[part]["enabled"] = True
        values["nodeAgent"]["enabled"] = values["nodeAgent"]["wiring"]["enabled"] = True
        values["nodeAgent"]["nodeSelector"] = {"gpu": "nvidia"}
        values["sync"].update(queues=True, hami=True, nodeTopology=True,
                              usageUrls=["n1=http://10.0.0.1:9400/metrics?a='b'"])
        values["engine"].update(
            tiers=[{"tier": 1, "name": "leaf"}], targetSkus=["half"], extraArgs=["--fsync=never"],
            skus=SKUS.replace("name: whole", "name: half"), access=[{"identity": "x", "role": "scheduler"}],
            nodeSelector={"a": "b"}, tolerations=[{"operator": "Exists"}])

    def test_it_renders_with_nothing_and_with_everything(self):
        plain = self.render()
        self.assertEqual({d["kind"] for d in plain}, {
            "ConfigMap", "ServiceAccount", "Service", "StatefulSet", "Deployment", "NetworkPolicy",
            "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
        all_of_it = self.render(self.everything)
        names = [(d["kind"], d["metadata"]["name"]) for d in all_of_it]
        self.assertEqual(len(set(names)), len(names))
        for kind, name in [("ServiceMonitor", "rel-engine"), ("PrometheusRule", "rel"),
                           ("ConfigMap", "rel-dashboards"), ("Deployment", "rel-volcano"),
                           ("Deployment", "rel-sync"), ("DaemonSet", "rel-node")]:
            self.assertIn((kind, name), names)
        rule = next(d for d in all_of_it if d["kind"] == "PrometheusRule")
        self.assertEqual(len(rule["spec"]["groups"][0]["rules"]), len(rules()))

    def test_basalt_alone_allocates_claims_in_its_profile(self):
        documents = self.render()
        import yaml  # there, or render had skipped
        config = next(d for d in documents if d["kind"] == "ConfigMap"
                      and d["metadata"]["name"] == "rel-kube-scheduler")
        text = next(iter(config["data"].values()))
        plugins = yaml.safe_load(text)["profiles"][0]["plugins"]["multiPoint"]
        self.assertEqual(plugins["disabled"], [{"name": "DynamicResources"}])

    def test_one_process_tells_the_engine_what_there_is(self):
        self.assertIn("set sync.enabled", self.render(
            lambda v: v["volcano"].update(enabled=True)))
        self.assertIn("enable sync or kubeScheduler", self.render(
            lambda v: v["kubeScheduler"].update(enabled=False)))

    def test_least_privilege(self):
        documents = self.render(self.everything)
        for role in (d for d in documents if d["kind"] in ("Role", "ClusterRole")):
            for rule in role["rules"]:
                for part in ("apiGroups", "resources", "verbs"):
                    self.assertNotIn("*", rule[part], role["metadata"]["name"])
                self.assertNotIn("secrets", rule["resources"])
                # Claims are written by kube-scheduler alone, with the rights that Kubernetes gives it.
                if "resource.k8s.io" in rule["apiGroups"]:
                    self.assertLessEqual(set(rule["verbs"]), {"get", "list", "watch"})
        bound = {s["name"] for d in documents if d["kind"].endswith("Binding")
                 for s in d["subjects"]}
        self.assertNotIn("rel-engine", bound)  # it has no rights at all
        for d in documents:
            if d["kind"] not in ("StatefulSet", "Deployment", "DaemonSet"):
                continue
            pod = d["spec"]["template"]["spec"]
            self.assertEqual(pod["automountServiceAccountToken"],
                             d["metadata"]["name"] != "rel-engine")
            # The kubelet's socket is root's.
            self.assertEqual(pod["securityContext"]["runAsNonRoot"], d["kind"] != "DaemonSet")
            for container in pod["containers"] + pod.get("initContainers", []):
                security = container["securityContext"]
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
            labels = d["spec"]["template"]["metadata"]["labels"]
            for key, value in d["spec"]["selector"]["matchLabels"].items():
                self.assertEqual(labels[key], value)

    @staticmethod
    def rights(documents, name):
        role = next((d for d in documents
                     if d["kind"] == "ClusterRole" and d["metadata"]["name"] == name), None)
        return {(resource, verb) for rule in role["rules"] for resource in rule["resources"]
                for verb in rule["verbs"]}

    def test_rights_go_with_what_is_asked_for(self):
        def sync(values):
            values["sync"]["enabled"] = True
        rights = self.rights(self.render(sync), "rel-sync")
        self.assertIn(("poddisruptionbudgets", "watch"), rights)
        self.assertNotIn("noderesourcetopologies", {r for r, _ in rights})
        self.assertIn(("noderesourcetopologies", "watch"),
                      self.rights(self.render(self.everything), "rel-sync"))

        def agent(wiring, resources):
            def change(values):
                values["nodeAgent"].update(enabled=True, resources=resources)
                values["nodeAgent"]["wiring"]["enabled"] = wiring
            return change
        for wiring, resources, wanted, mounted in [
                (True, "", {("nodes", "patch")}, []),
                (False, "nvidia.com/gpu", {("pods", v) for v in ("list", "watch", "patch")},
                 ["/var/lib/kubelet/pod-resources"])]:
            documents = self.render(agent(wiring, resources))
            self.assertEqual(self.rights(documents, "rel-node"), wanted)
            spec = next(d for d in documents if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]
            self.assertEqual([v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v],
                             mounted)
        self.assertIn("nothing to tell", self.render(agent(False, "")))

    def test_a_shadow_may_only_watch(self):
        def shadow(values):
            self.everything(values)
            values["shadow"] = True

        documents = self.render(shadow)
        running = {d["metadata"]["name"] for d in documents
                   if d["kind"] in ("StatefulSet", "Deployment")}
        self.assertEqual(running, {"rel-engine", "rel-sync"})
        verbs = {verb for d in documents if d["kind"] in ("Role", "ClusterRole")
                 for rule in d["rules"] for verb in rule["verbs"]}
        self.assertEqual(verbs, {"get", "list", "watch"})
        for d in documents:  # nor by a role that is there already
            if d["kind"].endswith("Binding"):
                self.assertEqual(d["roleRef"]["name"], "rel-sync")
        sync = next(d for d in documents if d["metadata"]["name"] == "rel-sync" and
                    d["kind"] == "Deployment")
        args = sync["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertIn("--execute=false", args)
        self.assertIn("--hami=false", args)
        data = next(d for d in documents if d["kind"] == "ConfigMap" and
                    d["metadata"]["name"] == "rel-engine")["data"]
        self.assertIn("mode: shadow", data["serve.yaml"])
        # One switch does it: what is enabled by default is enough to be told what there is.
        alone = self.render(lambda values: values.update(shadow=True))
        self.assertIn("rel-sync", {d["metadata"]["name"] for d in alone
                                   if d["kind"] == "Deployment"})
        # Without it the executor runs.
        args = next(d for d in self.render(self.everything) if d["kind"] == "Deployment" and
                    d["metadata"]["name"] == "rel-sync")
        self.assertIn("--execute=true",
                      args["spec"]["template"]["spec"]["containers"][0]["args"])

    def test_the_engine_reads_its_file(self):
        binary = os.environ.get("BASALT_BIN")
        if not binary or run(binary, "serve", "--help").returncode != 0:
            self.skipTest("no basalt with serve")
        documents = self.render(self.everything)
        data = next(d for d in documents if d["kind"] == "ConfigMap" and
                    d["metadata"]["name"] == "rel-engine")["data"]
        with tempfile.TemporaryDirectory() as folder:
            # Paths of the container are not here: certificates are left out.
            lines = [line for line in data["serve.yaml"].splitlines()
                     if not line.startswith(("tls_", "skus", "listen_", "store"))]
            path = pathlib.Path(folder) / "serve.yaml"
            skus = pathlib.Path(folder) / "skus.yaml"
            skus.write_text(data["skus.yaml"])
            path.write_text("\n".join(lines) + f"\nlisten_grpc: 127.0.0.1:0\nskus: {skus}\n")
            done = run(binary, "serve", "--config", path, "--check")
            self.assertEqual(done.returncode, 0, done.stderr)


class Files(unittest.TestCase):
    """The Dockerfile and the unit: what can be known of them without an engine and a manager."""

    def setUp(self):
        text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
        self.lines = [line.split(None, 1) for line in text.splitlines()
                      if line and not line.startswith("#")]

    def test_what_is_copied_is_there(self):
        stages, outputs, copied = [], set(), 0
        for word, rest in self.lines:
            if word == "FROM":
                stages.append(rest.split(" AS ")[1])
            outputs |= set(re.findall(r"-o (/\S+)", rest))
            if word != "COPY":
                continue
            *sources, _ = [p for p in rest.split() if not p.startswith("--")]
            stage = re.search(r"--from=(\S+)", rest)
            for source in sources:
                copied += 1
                if not stage:
                    self.assertTrue((ROOT / source).exists(), source)
                elif stage[1] == "engine-build":
                    self.assertEqual(source, "/src/build/release/bin/basalt")
                else:
                    self.assertIn(source, outputs)
                if stage:
                    self.assertIn(stage[1], stages)
        self.assertGreater(copied, 6)

    def test_what_is_built_is_there(self):
        for word, rest in self.lines:
            for module, package in re.findall(r"cd (\S+) && go build .* (\./\S+)", rest):
                self.assertTrue((ROOT / module / package / "main.go").exists(), rest)
            if word == "RUN" and rest.startswith("scripts/"):
                self.assertTrue(os.access(ROOT / rest.split()[0], os.X_OK), rest)

    def test_no_image_runs_as_root(self):
        user = None
        for word, rest in self.lines + [["FROM", ""]]:
            if word == "FROM" and user is not None and not stage.endswith("-build"):
                self.assertEqual(user, "65532:65532", stage)
            if word == "FROM":
                stage, user = rest, ""
            if word == "USER":
                user = rest

    def test_the_image_has_the_libraries(self):
        if not basalt() or not shutil.which("dpkg"):
            self.skipTest("no program, or no dpkg to ask whose libraries it uses")
        section = run("objdump", "-p", basalt()).stdout
        installed = next(rest for word, rest in self.lines if word == "RUN" and "apt-get" in rest)
        missing = set()
        for library in re.findall(r"NEEDED\s+(\S+)", section):
            owner = run("dpkg", "-S", f"*/{library}").stdout.split(":")[0]
            # What these bring with them is not named.
            if owner not in installed and not owner.startswith(
                    ("libabsl", "libgrpc29", "libc6", "libstdc++6", "libgcc-s1")):
                missing.add(f"{library} of {owner or 'no package'}")
        self.assertEqual(missing, set())

    def test_the_chart_names_what_the_images_hold(self):
        values = (CHART / "values.yaml").read_text()
        targets = {rest.split(" AS ")[1] for word, rest in self.lines
                   if word == "FROM"} - {"engine-build", "go-build"}
        self.assertEqual({t.replace("kube-scheduler", "kubeScheduler") for t in targets},
                         set(re.findall(r"^  (engine|volcano|kubeScheduler|sync): ", values, re.M)))

    def test_the_unit_is_sound_and_shut_in(self):
        analyze = shutil.which("systemd-analyze")
        if not analyze or not basalt():
            self.skipTest("systemd-analyze is not installed")
        text = (ROOT / "deploy" / "basalt.service").read_text()
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / "basalt.service"
            unit.write_text(text.replace("/usr/local/bin/basalt", basalt()))
            done = run(analyze, "verify", unit)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
            # Tenths; a unit without any of its limits has 96.
            done = run(analyze, "security", "--offline=yes", "--threshold=20", unit)
            self.assertEqual(done.returncode, 0, done.stdout[-300:])


if __name__ == "__main__":
    unittest.main()
