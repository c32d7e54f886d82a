// Reads the report out of the page and puts the views together.

import { comparePanel } from "./compare";
import { causesPanel } from "./causes";
import { curvesPanel } from "./curves";
import { DataError, loadReport, View, type Report } from "./data";
import { choice, fixed, h, NA, plural } from "./dom";
import { failedPanel, runsPanel } from "./failed";
import { kpiPanel } from "./kpi";
import { mapPanel, shown } from "./map";
import { platformPanels } from "./platform";
import { themeButton } from "./theme";

interface Api {
  ready: boolean;
  error: string | null;
  policies: string[];
  readonly cells: number;
  readonly slices: number;
  readonly maps: { map: number; cells: number; slices: number }[];
  find: (pod: string) => { x: number; y: number } | null;
}
declare global {
  interface Window { basaltReport: Api }
}

// For tests and scripts: what was really drawn, not what the data says should have been.
const api: Api = {
  ready: false, error: null, policies: [],
  get cells() {
    return [...shown].reduce((n, s) => n + s.cells, 0);
  },
  get slices() {
    return [...shown].reduce((n, s) => n + s.slices, 0);
  },
  get maps() {
    return [...shown].map(({ map, cells, slices }) => ({ map, cells, slices }));
  },
  find: (pod) => {
    for (const s of shown) {
      const at = s.find(pod);
      if (at) return at;
    }
    return null;
  },
};
window.basaltReport = api;

const SVG = "http://www.w3.org/2000/svg";
function logo(): SVGElement {
  // Four columns of basalt, seen from the side.
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "logo");
  svg.setAttribute("aria-hidden", "true");
  [[3, 15, 0.55], [10, 8, 1], [17, 12, 0.75], [24, 4, 0.9]].forEach(([x, y, opacity]) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${x} ${y! + 2}l2.5-2h1l2.5 2V29H${x}z`);
    path.setAttribute("opacity", String(opacity));
    svg.append(path);
  });
  return svg;
}

function header(report: Report): HTMLElement {
  const { cluster } = report;
  const facts: [string, string][] = [
    ["Cluster", `${plural(cluster.nodes, "node")}, ${plural(cluster.cards, "card")}, ${fixed(cluster.gpu_milli / 1000, 0)} GPUs`],
  ];
  const models = [...cluster.models].sort((a, b) => b.cards - a.cards);
  if (models.length > 0) facts.push(["Models", models.map((m) => (m.cards > 0 ? `${m.model || "unknown"} \u00d7\u2009${fixed(m.cards, 0)}` : plural(m.nodes, "node without cards", "nodes without cards"))).join(", ")]);
  if (report.platform) facts.push(["Arms", fixed(report.platform.arms.length, 0)]);
  if (report.traces.length > 0) facts.push([report.traces.length > 1 ? "Traces" : "Trace", report.traces.map((t) => `${t.name} (${plural(t.pods, "pod")})`).join(", ")]);
  if (report.runs.length > 0) {
    const policies = new Set(report.runs.map((r) => r.policy)).size, seeds = new Set(report.runs.map((r) => r.seed)).size;
    facts.push(["Runs", `${fixed(report.runs.length, 0)}: ${plural(policies, "policy", "policies")} \u00d7 ${plural(seeds, "seed")}`]);
    const digests = [...new Set(report.runs.map((r) => r.digest).filter(Boolean))];
    facts.push([digests.length === 1 ? "Digest" : "Digests", digests.length === 0 ? NA : digests.length === 1 ? digests[0]! : `${digests.length} different, listed under Runs`]);
  }
  facts.push(["Version", report.version || NA]);
  const command = h("code", {}, report.command || NA);
  const copy = h("button", { type: "button", class: "copy" }, "Copy");
  copy.addEventListener("click", () => {
    // Pages opened from a file may not touch the clipboard; then the text is at least selected.
    getSelection()?.selectAllChildren(command);
    navigator.clipboard?.writeText(report.command).then(() => {
      copy.textContent = "Copied";
    }, () => {
      copy.textContent = "Selected";
    });
  });
  return h("header", {}, h("div", { class: "bar-top" }, logo(), h("span", { class: "brand" }, `basalt \u00b7 ${report.kind} report`), themeButton()),
    h("h1", {}, report.title || "Basalt report"), report.subtitle ? h("p", { class: "subtitle" }, report.subtitle) : null,
    report.command ? h("div", { class: "command" }, command, copy) : null,
    h("dl", { class: "facts" }, ...facts.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v)))));
}

function render(report: Report): HTMLElement[] {
  const parts: HTMLElement[] = [header(report)];
  const compare = comparePanel(report);
  if (compare) parts.push(compare);
  if (report.platform) parts.push(...platformPanels(report.platform));

  const order = [...new Set(report.runs.map((r) => r.policy))];
  api.policies = order;
  const traces = [...new Set(report.runs.map((r) => r.trace))];
  if (traces.length > 0) {
    const holder = h("div", { class: "per-trace" });
    const built = new Map<string, HTMLElement>();
    const show = (trace: string): void => {
      let element = built.get(trace);
      if (!element) {
        const view = new View(report, trace, (p) => order.indexOf(p));
        const panels = [kpiPanel(view), curvesPanel(view), causesPanel(view), failedPanel(view), runsPanel(view)];
        element = h("div", { class: "stack" }, ...panels);
        built.set(trace, element);
      }
      holder.replaceChildren(element);
    };
    if (traces.length > 1) parts.push(h("div", { class: "trace-picker" }, choice("Trace", traces.map((t): [string, string] => [t, t]), traces[0]!, show)));
    show(traces[0]!);
    parts.push(holder);
  } else if (!compare && !report.platform) {
    parts.push(h("section", { class: "panel" }, h("p", { class: "note" }, "This report holds no runs.")));
  }

  const inArms = new Set(report.comparison?.arms.map((a) => a.map));
  if (report.maps.some((_, i) => !inArms.has(i))) {
    const map = mapPanel(report);
    if (map) {
      parts.push(map);
      // The runs are the appendix; the map belongs before them.
      const runs = parts.find((p) => p.classList.contains("per-trace"));
      if (runs && traces.length === 1) {
        const appendix = runs.querySelector<HTMLElement>("#runs");
        if (appendix) parts.push(appendix);
      }
    }
  }
  parts.push(h("footer", {}, `Made by basalt ${report.version || ""}. This page is complete: it loads nothing from the network.`));
  return parts;
}

function fatal(app: HTMLElement, error: unknown): void {
  const known = error instanceof DataError;
  const message = error instanceof Error ? error.message : String(error);
  api.error = message;
  app.replaceChildren(h("section", { class: "fatal", role: "alert" }, h("h1", {}, "This report cannot be shown"),
    h("p", {}, known ? message : `The page itself failed: ${message}`),
    h("p", { class: "dim" }, known ? "Make the report again with the same version of basalt that this page came from." : "Please report this with the file attached.")));
  // A fault of the page must be found by tests and in the console; bad data is not one.
  if (!known) console.error(error);
}

async function start(): Promise<void> {
  const app = document.getElementById("app")!;
  try {
    const holder = document.getElementById("basalt-data");
    const report = await loadReport(holder?.textContent ?? "");
    holder?.remove(); // the packed copy is of no more use, and may be megabytes
    document.title = report.title ? `${report.title} \u2013 basalt` : "Basalt report";
    app.replaceChildren(...render(report));
  } catch (error) {
    fatal(app, error);
  }
  // Two frames later the observers have sized and drawn the canvases.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    api.ready = true;
  }));
}

void start();
