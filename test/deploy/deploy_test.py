"""deploy/: dashboards and alert rules ask for what the server writes, and the chart renders.

The server's metrics are those of scrape.prom, which a unit test (service_metrics_test) holds equal
to what a service writes; `deploy_test.py --scrape FILE` checks against another scrape. What other
programs check (promtool, prometheus, go or helm) is left out where they are not installed.
"""
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent.parent / "deploy" / "helm" / "basalt"
RULES = CHART / "files" / "rules.yaml"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
SCRAPE = HERE / "scrape.prom"

# Every scrape has these from the scraper.
SCRAPED = {"instance", "job"}
KEYWORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless",
            "bool", "offset", "le"}
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"'


def read_scrape(path):
    """Sample name -> label -> values."""
    metrics = {}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert match, f"{path.name}: no sample: {line}"
        labels = metrics.setdefault(match[1], {})
        for name, _, value in re.findall(LABEL, match[2] or ""):
            labels.setdefault(name, set()).add(value)
    return metrics


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
        self.metrics = read_scrape(SCRAPE)

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
            self.assertRegex(asked, rf"\b{name}\b", "nobody would ever see it")

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


def run(*command, text=None):
    return subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True,
                          cwd=HERE, timeout=120)


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

    def test_the_scrape_is_well_formed(self):
        done = run(self.promtool, "check", "metrics", text=SCRAPE.read_text())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus(unittest.TestCase):
    """A Prometheus scrapes the file from a web server, and every query answers."""

    def setUp(self):
        program = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
        if not program:
            self.skipTest("prometheus is not installed")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(SCRAPE.read_bytes())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        config = pathlib.Path(folder.name) / "prometheus.yml"
        config.write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: basalt
    static_configs: [{{targets: ["127.0.0.1:{server.server_address[1]}"]}}]
""")
        self.port = free_port()
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={folder.name}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def stop():
            process.terminate()
            process.wait(30)

        self.addCleanup(stop)
        ends = time.monotonic() + 60
        while True:  # until there are enough samples for a rate
            try:
                if float(self.ask("count_over_time(basalt_ready[1m])")[0]["value"][1]) >= 4:
                    return
            except (OSError, IndexError):
                pass
            self.assertLess(time.monotonic(), ends, "prometheus does not scrape")
            self.assertIsNone(process.poll(), "prometheus has ended")
            time.sleep(0.5)

    def ask(self, query):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?" +
                                    urllib.parse.urlencode({"query": query}), timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def test_every_dashboard_query_answers(self):
        for path in DASHBOARDS:
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel.get("targets", []):
                    query = target["expr"].replace("$__rate_interval", "1m")
                    query = re.sub(r"\$\w+", ".*", query)
                    with self.subTest(f"{path.name}: {panel['title']}", query=query):
                        self.assertTrue(self.ask(query), "no data")

    def test_rules_are_evaluated_without_errors(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/rules") as answer:
            loaded = json.load(answer)["data"]["groups"][0]["rules"]
        self.assertEqual({r["name"] for r in loaded}, set(rules()))
        self.assertEqual([r["name"] for r in loaded if r["health"] == "err"], [])


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
        try:
            import yaml
        except ImportError:
            self.skipTest("python3-yaml is not installed")
        go = shutil.which("go")
        if not go:
            self.skipTest("go is not installed")
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        change(values)
        done = subprocess.run([go, "run", ".", str(CHART), json.dumps(values)], cwd=HERE / "render",
                              capture_output=True, text=True, timeout=300,
                              env=os.environ | {"GOFLAGS": "-buildvcs=false", "GOWORK": "off"})
        if done.returncode != 0:
            return done.stderr
        return [d for d in yaml.safe_load_all(done.stdout) if d]

    @staticmethod
    def everything(values):
        for part in ("volcano", "kubeScheduler", "sync", "serviceMonitor", "prometheusRule",
                     "dashboards"):
            values[part]["enabled"] = True
        values["sync"].update(queues=True, hami=True)
        values["engine"].update(
            tiers=[{"tier": 1, "name": "leaf"}], targetSkus=["half"], extraArgs=["--fsync=never"],
            skus="skus:\n  - name: half\n", access=[{"identity": "x", "role": "scheduler"}],
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
                           ("Deployment", "rel-sync")]:
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
            if d["kind"] not in ("StatefulSet", "Deployment"):
                continue
            pod = d["spec"]["template"]["spec"]
            self.assertEqual(pod["automountServiceAccountToken"],
                             d["metadata"]["name"] != "rel-engine")
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            for container in pod["containers"]:
                security = container["securityContext"]
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
            labels = d["spec"]["template"]["metadata"]["labels"]
            for key, value in d["spec"]["selector"]["matchLabels"].items():
                self.assertEqual(labels[key], value)

    def test_the_engine_reads_its_file(self):
        binary = os.environ.get("BASALT_BIN")
        if not binary or run(binary, "serve", "--help").returncode != 0:
            self.skipTest("no basalt with serve")
        documents = self.render(self.everything)
        data = next(d for d in documents if d["kind"] == "ConfigMap" and
                    d["metadata"]["name"] == "rel-engine")["data"]
        with tempfile.TemporaryDirectory() as folder:
            # Paths of the container are not here: certificates and the SKU file are left out.
            lines = [line for line in data["serve.yaml"].splitlines()
                     if not line.startswith(("tls_", "skus", "listen_", "store"))]
            text = "\n".join(lines).replace("    target_skus:\n      - \"half\"", "")
            path = pathlib.Path(folder) / "serve.yaml"
            path.write_text(text + "\nlisten_grpc: 127.0.0.1:0\n")
            done = run(binary, "serve", "--config", path, "--check")
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    if "--scrape" in sys.argv:
        at = sys.argv.index("--scrape")
        SCRAPE = pathlib.Path(sys.argv[at + 1]).resolve()
        del sys.argv[at:at + 2]
    unittest.main()
