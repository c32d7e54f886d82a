// A platform scenario: its arms side by side, the document's figures and what became of them, curves over time, and
// who got what.

import uPlot from "uplot";

import { axes, keyboard } from "./curves";
import type { Num, Platform, PlatformArm } from "./platform_data";
import { choice, chip, fixed, h, NA, panel, select, sortable, type Cell, type Column } from "./dom";
import { colour, onTheme, policyDash, policyVar } from "./theme";

const value = (v: Num, digits: number): string => (v === null ? NA : fixed(v, digits));
const armChip = (i: number): HTMLElement => chip(`var(--${policyVar(i)})`);

function claimsPanel(platform: Platform): HTMLElement | null {
  if (platform.claims.length === 0) return null;
  const list = platform.claims.map((c) => {
    const good = c.verdict === "holds", none = c.verdict === "not measured";
    return h("li", { class: `claim ${none ? "none" : good ? "good" : "bad"}` },
      h("div", { class: "claim-head" }, h("span", { class: "verdict" }, none ? "– not measured" : good ? "✓ holds" : "✗ does not hold"), h("strong", {}, c.text)),
      h("div", { class: "claim-figures" }, h("span", {}, "measured ", h("b", {}, value(c.value, 1)), c.unit ? ` ${c.unit}` : ""), h("span", {}, `holds if ${c.holds}`)),
      h("div", { class: "claim-how" }, h("code", {}, c.metric), c.source ? h("span", {}, c.source) : null));
  });
  const section = panel("The document's figures", platform.document ? `${platform.document}. Each figure, the expression over the arms that measures it here, and whether the simulation reaches it.` : "", h("ul", { class: "claims" }, ...list));
  section.id = "claims";
  return section;
}

function figuresPanel(platform: Platform): HTMLElement {
  const shownArms = platform.arms.map((_, i) => i).filter((i) => !platform.arms[i]!.swept);
  const base = shownArms.includes(platform.baseline) ? platform.baseline : shownArms[0]!;
  const heads = shownArms.map((i) => h("th", { scope: "col", class: "num", title: platform.arms[i]!.about },
    h("span", { class: "name" }, armChip(i), h("span", {}, platform.arms[i]!.name)), h("span", { class: "sub" }, i === base ? "baseline" : "")));
  const rows: HTMLElement[] = [];
  let group = "";
  for (const f of platform.figures) {
    if (f.group !== group) {
      group = f.group;
      rows.push(h("tr", { class: "group" }, h("th", { colspan: shownArms.length + 1, scope: "rowgroup" }, h("span", {}, group))));
    }
    const known = shownArms.map((i) => f.values[i] ?? null).filter((v): v is number => v !== null);
    const best = f.better === 0 || known.length < 2 || Math.max(...known) === Math.min(...known) ? null : f.better > 0 ? Math.max(...known) : Math.min(...known);
    const from = f.values[base] ?? null;
    rows.push(h("tr", { class: f.key === "utilization" ? "hero" : "" }, h("th", { scope: "row" }, f.label, f.unit ? h("span", { class: "sub" }, f.unit) : null),
      ...shownArms.map((i) => {
        const v = f.values[i] ?? null, step = 0.5 * 10 ** -f.digits;
        const cell = h("td", { class: `num${v !== null && v === best ? " best" : ""}` }, h("span", { class: "value" }, v !== null && v === best ? h("span", { class: "mark", title: "best" }, "●") : null, value(v, f.digits)));
        if (v !== null && from !== null && i !== base && Math.abs(v - from) > step) {
          const more = v > from, word = f.better === 0 ? "" : (f.better > 0) === more ? " good" : " bad";
          cell.append(h("span", { class: `delta${word}` }, `${more ? "+" : "−"}${fixed(Math.abs(v - from), f.digits)}`));
        }
        return cell;
      })));
  }
  const table = h("table", { class: `kpi${shownArms.length < 4 ? " few" : ""}` }, h("caption", { class: "sr" }, "Figures of each arm"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Differences to the baseline"), ...heads)), h("tbody", {}, ...rows));
  const section = panel("Arms side by side", "All arms met the same demand. Utilization is served work over physical capacity, weighted by time; allocation is what was handed out.",
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of each arm" }, table), armNotes(platform, shownArms));
  section.id = "arms";
  return section;
}

function armNotes(platform: Platform, arms: number[]): HTMLElement {
  return h("details", {}, h("summary", {}, "What the arms change"), h("dl", { class: "arm-notes" }, ...arms.flatMap((i) => {
    const arm = platform.arms[i]!;
    return [h("dt", {}, armChip(i), arm.name), h("dd", {}, arm.about, arm.about ? h("br") : null, ...(arm.set.length > 0 ? arm.set.map((s) => h("code", { class: "set" }, `${s.path}: ${s.value}`)) : ["the file as it stands"]))];
  })));
}

interface Line { key: string; label: string; of: (arm: PlatformArm) => Num[] }
const share = (part: Num[], whole: Num[]): Num[] => part.map((v, i) => (v === null || !whole[i] ? null : (100 * v) / whole[i]!));
const LINES: Line[] = [
  { key: "utilization", label: "Utilization, %", of: (a) => share(a.series.served_cards, a.series.capacity_cards) },
  { key: "allocation", label: "Allocation, %", of: (a) => share(a.series.allocated_cards, a.series.capacity_cards) },
  { key: "touched", label: "Cards with something on them, %", of: (a) => share(a.series.touched_cards, a.series.capacity_cards) },
  { key: "waiting", label: "Units without a place", of: (a) => a.series.waiting_units },
  { key: "cost", label: "Cost per hour", of: (a) => a.series.cost_per_hour },
  { key: "passthrough", label: "Cards in the passthrough pool", of: (a) => a.series.passthrough_cards },
];

function seriesPanel(platform: Platform): HTMLElement | null {
  const arms = platform.arms.map((_, i) => i).filter((i) => !platform.arms[i]!.swept);
  const hours = platform.arms[arms[0]!]!.series.hours;
  if (hours.length < 2) return null;
  const lines = LINES.filter((l) => arms.some((i) => l.of(platform.arms[i]!).some((v) => v !== null && v !== 0)));
  const visible = arms.map(() => true);
  const chosen = [0, Math.min(1, lines.length - 1)];
  const where = h("span", { class: "where", "aria-live": "polite" });
  const outs = arms.map(() => chosen.map(() => h("td", { class: "num" })));
  let index: number | null = null;
  const plots: (uPlot | null)[] = [null, null];
  const boxes = chosen.map(() => h("div", { class: "chart", tabindex: "0", role: "img" }));

  function readOut(): void {
    const at = index ?? hours.length - 1, t = hours[at]!;
    where.textContent = `Day ${Math.floor(t / 24) + 1}, ${String(Math.floor(t % 24)).padStart(2, "0")}:${String(Math.round((t % 1) * 60)).padStart(2, "0")}`;
    arms.forEach((arm, i) => chosen.forEach((l, k) => {
      outs[i]![k]!.textContent = value(lines[l]!.of(platform.arms[arm]!)[at] ?? null, 1);
    }));
    chosen.forEach((l, k) => {
      heads[k]!.textContent = lines[l]!.label;
    });
  }
  function build(k: number): void {
    plots[k]?.destroy();
    const line = lines[chosen[k]!]!, box = boxes[k]!;
    box.setAttribute("aria-label", `${line.label} over time. Left and right arrow keys move the cursor; the values are in the table below.`);
    const data = [hours, ...arms.map((i) => line.of(platform.arms[i]!))] as uPlot.AlignedData;
    plots[k] = new uPlot({
      width: Math.max(280, box.clientWidth), height: 280, legend: { show: false }, padding: [12, 12, 0, 0],
      axes: axes("Hours", line.label), scales: { x: { time: false }, y: { range: (_u, lo, hi) => [Math.min(0, lo ?? 0), Math.max(1, hi ?? 1) * 1.04] } },
      cursor: { sync: { key: "platform", setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
      series: [{}, ...arms.map((i, n) => ({ label: platform.arms[i]!.name, show: visible[n]!, stroke: () => colour(policyVar(i)), width: 1.6, dash: policyDash(i), points: { show: false } }))],
      hooks: { setCursor: [(u) => {
        index = u.cursor.idx ?? null;
        readOut();
      }] },
    }, data, box);
  }
  const rebuild = (): void => {
    chosen.forEach((_, k) => build(k));
    readOut();
  };
  boxes.forEach((box) => keyboard(box, () => hours.length, () => index ?? hours.length - 1, (i) => {
    for (const plot of plots) plot?.setCursor({ left: plot.valToPos(hours[i]!, "x"), top: 10 }, false);
    index = i;
    readOut();
  }));
  const heads = chosen.map(() => h("th", { scope: "col", class: "num" }));
  const legendRows = arms.map((arm, i) => {
    const button = h("button", { type: "button", class: "key", "aria-pressed": "true", title: "Show or hide this arm" }, chip(`var(--${policyVar(arm)})`, "line"), platform.arms[arm]!.name);
    button.addEventListener("click", () => {
      visible[i] = !visible[i];
      button.setAttribute("aria-pressed", String(visible[i]));
      for (const plot of plots) plot?.setSeries(i + 1, { show: visible[i]! });
    });
    return h("tr", {}, h("th", { scope: "row" }, button), ...outs[i]!);
  });
  const figures = boxes.map((box, k) => h("figure", {}, select("Show", lines.map((l) => l.label), chosen[k]!, (i) => {
    chosen[k] = i;
    build(k);
    readOut();
  }), box));
  const section = panel("Over time", "", h("div", { class: "charts" }, ...figures),
    h("div", { class: "scroll" }, h("table", { class: "legend" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, where), ...heads)), h("tbody", {}, ...legendRows))),
    h("p", { class: "note screen" }, "Drag across a chart to zoom; double-click to go back. Click a name to hide its line."));
  section.id = "series";
  let width = 0;
  new ResizeObserver(() => {
    const now = boxes[0]!.clientWidth;
    if (now === width || now === 0) return;
    width = now;
    rebuild();
  }).observe(boxes[0]!);
  onTheme(() => plots.forEach((p) => p?.redraw()));
  return section;
}

function sweepPanel(platform: Platform): HTMLElement | null {
  const arms = platform.arms.map((_, i) => i).filter((i) => platform.arms[i]!.swept);
  if (arms.length === 0) return null;
  const keys = ["utilization", "allocation", "cost_served_hour", "service_done", "service_slow_share", "training_done", "training_wait_p50", "training_wait_p99", "sandbox_slowdown_mean"];
  const figures = platform.figures.filter((f) => keys.includes(f.key));
  const columns: Column[] = [{ label: "Arm" }, ...figures.map((f) => ({ label: `${f.group === "Cards" || f.group === "Cost" ? "" : `${f.group}: `}${f.label}${f.unit ? `, ${f.unit}` : ""}`, numeric: true }))];
  const rows: Cell[][] = arms.map((i) => [{ text: platform.arms[i]!.name, sort: i }, ...figures.map((f): Cell => ({ text: value(f.values[i] ?? null, f.digits), sort: f.values[i] ?? null }))]);
  const section = panel("Sweep", "One key at several values. The demand may differ from value to value, so arms compare with each other at the same value only.",
    sortable("Arms of the sweep", columns, rows, { column: 0, down: false }));
  section.id = "sweep";
  return section;
}

type Scope = "workloads" | "tenants" | "skus" | "clusters" | "models";
function detailPanel(platform: Platform): HTMLElement {
  let arm = platform.baseline, scope: Scope = "workloads";
  const holder = h("div", {});
  const number = (v: Num | undefined, digits = 0): Cell => ({ text: value(v ?? null, digits), sort: v ?? null });
  function draw(): void {
    const a = platform.arms[arm]!;
    if (scope === "workloads") {
      const columns = ["Workload", "Tenant", "Kind", "Asked", "Completed", "Held, GPU-h", "Served, GPU-h", "Wait p50, s", "Wait p99, s", "Slowdown", "Slowdown p99", "Slower, %", "Overload, min", "Evictions", "Commits", "Lost, GPU-h"];
      holder.replaceChildren(sortable("Workloads", columns.map((label, i) => ({ label, numeric: i > 2 })), a.workloads.map((w) => [{ text: w.name }, { text: w.tenant }, { text: w.class }, number(w.submitted), number(w.completed), number(w.allocated_gpu_hours), number(w.served_gpu_hours), number(w.wait_seconds.p50), number(w.wait_seconds.p99), number(w.slowdown.mean, 3), number(w.slowdown.p99, 2), number(w.slow_share_pct, 1), number(w.overload_minutes), number(w.evictions), number(w.commits), number(w.lost_gpu_hours, 1)]), { column: 5, down: true }, 20));
    } else if (scope === "clusters") {
      const columns = ["Cluster", "Region", "Kind", "Cards", "Capacity, GPU-h", "Held, GPU-h", "Served, GPU-h", "Utilization, %", `Cost per month, ${platform.currency}`, "Came from elsewhere"];
      holder.replaceChildren(sortable("Clusters", columns.map((label, i) => ({ label, numeric: i > 2 })), a.clusters.map((c) => [{ text: c.name }, { text: c.region }, { text: c.private ? "private" : "public" }, number(c.cards), number(c.capacity_gpu_hours), number(c.allocated_gpu_hours), number(c.served_gpu_hours), number(c.capacity_gpu_hours ? (100 * (c.served_gpu_hours ?? 0)) / c.capacity_gpu_hours : null, 1), number(c.cost_per_month), number(c.overflowed_in)]), { column: 4, down: true }, 20));
    } else {
      const columns = [{ tenants: "Tenant", skus: "SKU", models: "Card model" }[scope], "Held, GPU-h", "Served, GPU-h", "Served of held, %", "Lost, GPU-h", `Charged, ${platform.currency}`];
      holder.replaceChildren(sortable(columns[0]!, columns.map((label, i) => ({ label, numeric: i > 0 })), a[scope].map((r) => [{ text: r.name || "none" }, number(r.allocated_gpu_hours), number(r.served_gpu_hours), number(r.allocated_gpu_hours ? (100 * (r.served_gpu_hours ?? 0)) / r.allocated_gpu_hours : null, 1), number(r.lost_gpu_hours, 1), number(r.charged)]), { column: 1, down: true }, 20));
    }
  }
  const scopes: [Scope, string][] = [["workloads", "workload"], ["tenants", "tenant"], ["skus", "SKU"], ["clusters", "cluster"], ["models", "card model"]];
  const all = scopes.filter(([key]) => platform.arms.some((a) => a[key].length > 0));
  const section = panel("Who got what", "", h("div", { class: "controls" }, select("Arm", platform.arms.map((a) => a.name), arm, (i) => {
    arm = i;
    draw();
  }), choice<Scope>("By", all, scope, (v) => {
    scope = v;
    draw();
  })), holder);
  section.id = "detail";
  draw();
  return section;
}

function assumptionsPanel(platform: Platform): HTMLElement | null {
  if (platform.assumptions.length === 0) return null;
  const columns = ["Assumption", "Value", "Range", "Source or reason"].map((label) => ({ label }));
  const section = panel("Assumptions", "What the document does not say, set before the arms ran.",
    sortable("Assumptions", columns, platform.assumptions.map((a, i) => [{ text: a.name, sort: i }, { text: a.value }, { text: a.range }, { text: a.source }]), { column: 0, down: false }));
  section.id = "assumptions";
  return section;
}

export function platformPanels(platform: Platform): HTMLElement[] {
  return [claimsPanel(platform), figuresPanel(platform), seriesPanel(platform), sweepPanel(platform), detailPanel(platform), assumptionsPanel(platform)].filter((p): p is HTMLElement => p !== null);
}
