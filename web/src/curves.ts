// Allocation and fragmentation over x: mean lines with a band over seeds, one shared cursor and one shared legend.

import uPlot from "uplot";

import type { Num, View } from "./data";
import { choice, chip, fixed, format, h, NA, panel, sortable, type Unit } from "./dom";
import { colour, onTheme, policyDash, policyVar } from "./theme";

type Band = "std" | "range" | "none";
interface Chart { plot: uPlot | null; box: HTMLElement; key: string; build: () => void }

const HEIGHT = 330;
const READINGS: { key: string; label: string; unit: Unit }[] = [
  { key: "allocation_pct", label: "Allocated", unit: "pct" },
  { key: "fragmentation_pct", label: "Stranded, of cluster", unit: "pct" },
  { key: "fragmentation_ratio_pct", label: "Stranded, of idle", unit: "pct" },
  { key: "idle_cards", label: "Idle cards", unit: "count" },
  { key: "idle_nodes", label: "Idle nodes", unit: "count" },
  { key: "queued", label: "Waiting", unit: "count" },
];
const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

export function axes(xLabel: string, yLabel: string): uPlot.Axis[] {
  const common = { stroke: () => colour("ink-2"), grid: { stroke: () => colour("grid"), width: 1 }, ticks: { stroke: () => colour("grid"), width: 1, size: 5 }, font, labelFont: font, labelSize: 22 };
  return [{ ...common, label: xLabel, size: 32 }, { ...common, label: yLabel, size: 46 }];
}

/** Writes each line's name at its right end, pushed apart where lines end close together. */
function endLabels(view: View, keyOf: (i: number) => number): uPlot.Plugin {
  return {
    hooks: {
      draw: (u) => {
        const { ctx, bbox } = u, ratio = devicePixelRatio;
        if (u.width < 460) return;
        const labels: { text: string; y: number; ink: string }[] = [];
        view.policies.forEach((policy, i) => {
          const k = keyOf(i), values = u.data[k] as Num[];
          if (!u.series[k]?.show) return;
          const lo = u.scales.x!.min ?? 0, hi = u.scales.x!.max ?? 0;
          for (let j = values.length - 1; j >= 0; --j) {
            const x = u.data[0]![j]!, y = values[j];
            if (x > hi || y == null) continue;
            if (x < lo) break;
            const at = u.valToPos(y, "y", true);
            if (at >= bbox.top - 1 && at <= bbox.top + bbox.height + 1) labels.push({ text: policy, y: at, ink: colour(policyVar(view.colourOf(policy))) });
            break;
          }
        });
        labels.sort((a, b) => a.y - b.y);
        const step = 14 * ratio;
        for (let i = 1; i < labels.length; ++i) labels[i]!.y = Math.max(labels[i]!.y, labels[i - 1]!.y + step);
        const overflow = (labels.at(-1)?.y ?? 0) - (bbox.top + bbox.height);
        if (overflow > 0) {
          labels.at(-1)!.y -= overflow;
          for (let i = labels.length - 2; i >= 0; --i) labels[i]!.y = Math.min(labels[i]!.y, labels[i + 1]!.y - step);
        }
        ctx.save();
        ctx.font = `600 ${11.5 * ratio}px system-ui, sans-serif`;
        ctx.textAlign = "left"; // the axes leave it at "right"
        ctx.textBaseline = "middle";
        const room = (u.width - 8) * ratio - (bbox.left + bbox.width);
        for (const label of labels) {
          let text = label.text;
          while (text.length > 3 && ctx.measureText(text).width > room) text = `${text.slice(0, -2)}\u2026`;
          ctx.fillStyle = label.ink;
          ctx.fillText(text, bbox.left + bbox.width + 6 * ratio, label.y);
        }
        ctx.restore();
      },
    },
  };
}

/** A dashed vertical line at x = 100 % arrived: from there on the demand exceeds the cluster. */
export function fullMark(view: View): uPlot.Plugin {
  return {
    hooks: {
      drawAxes: (u) => {
        const lo = u.scales.x!.min ?? 0, hi = u.scales.x!.max ?? 0;
        if (!view.percent || lo >= 100 || hi <= 100) return;
        const x = Math.round(u.valToPos(100, "x", true)), { ctx, bbox } = u;
        ctx.save();
        ctx.strokeStyle = colour("ink-3");
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.restore();
      },
    },
  };
}

/** Left and right move the cursor of a focused chart; `move` gets the new index. */
export function keyboard(box: HTMLElement, count: () => number, current: () => number | null, move: (index: number) => void): void {
  box.addEventListener("keydown", (event) => {
    const n = count(), big = Math.max(1, Math.round(n / 20)), at = current() ?? n;
    const to: Record<string, number> = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - big, PageDown: at + big, Home: 0, End: n - 1 };
    const target = to[event.key];
    if (target === undefined || n === 0) return;
    event.preventDefault();
    move(Math.min(n - 1, Math.max(0, target)));
  });
}

/** First x from which the policies are more than `gap` apart, a little before it. */
function partingPoint(view: View, key: string, gap: number): number | null {
  if (view.policies.length < 2) return null;
  const means = view.policies.map((p) => view.curve(p, "series", key).mean);
  for (let i = 0; i < view.xs.length; ++i) {
    const at = means.map((m) => m[i] ?? null).filter((v): v is number => v !== null);
    if (at.length > 1 && Math.max(...at) - Math.min(...at) > gap) return view.xs[Math.max(0, i - Math.ceil(view.xs.length / 26))]!;
  }
  return null;
}

export function curvesPanel(view: View): HTMLElement {
  const { xs, policies } = view;
  const last = xs.length - 1;
  if (last < 1) return panel("Curves", "The runs hold no samples to draw.");
  const restIndex = view.restIndex();
  let band: Band = view.seeds > 1 ? "std" : "none";
  let fragKey = "fragmentation_pct";
  const visible = policies.map(() => true);
  let index: number | null = null;
  const parting = view.percent ? partingPoint(view, "allocation_pct", 0.5) : null;
  const lead = parting !== null && parting > xs[0]! ? parting : null;
  const ranges = [{ key: "all", label: "Whole run", from: xs[0]! }];
  if (view.percent && xs[0]! < 80 && xs[last]! > 90) ranges.unshift({ key: "full", label: "From 80\u2009%", from: 80 });
  if (lead !== null) ranges.unshift({ key: "lead", label: "Where policies part", from: lead });
  let zoom: [number, number] = [ranges[0]!.from, xs[last]!];

  const meanAt = (i: number): number => 1 + 3 * i;
  const dataOf = (key: string): uPlot.AlignedData => {
    const rows: Num[][] = [];
    for (const p of policies) {
      const c = view.curve(p, "series", key);
      const lo = band === "range" ? c.min : c.mean.map((m, i) => (band === "none" || m === null || c.std[i] == null ? m : m - c.std[i]!));
      const hi = band === "range" ? c.max : c.mean.map((m, i) => (band === "none" || m === null || c.std[i] == null ? m : m + c.std[i]!));
      rows.push(c.mean, hi, lo);
    }
    return [xs, ...rows] as uPlot.AlignedData;
  };
  // Fits y to what is visible in the x window; a few percent of air, but never beyond what a percentage can be.
  const yRange = (u: uPlot, lo: number | null, hi: number | null): [number, number] => {
    if (lo === null || hi === null || !Number.isFinite(lo) || !Number.isFinite(hi)) return [0, 100];
    const air = Math.max((hi - lo) * 0.06, 0.05);
    const whole = u.scales.x!.min === xs[0] && u.scales.x!.max === xs[last];
    return [whole ? 0 : Math.max(0, lo - air), hi > 90 && hi <= 100 && whole ? 100 : hi + air];
  };

  function make(key: () => string, label: () => string): Chart {
    const box = h("div", { class: "chart", tabindex: "0", role: "img" });
    const chart: Chart = { plot: null, box, key: "", build: () => {} };
    chart.build = () => {
      chart.plot?.destroy();
      chart.key = key();
      box.setAttribute("aria-label", `${label()} over ${view.xLabel}. Left and right arrow keys move the cursor; the values are in the table below.`);
      const width = Math.max(280, box.clientWidth);
      const series: uPlot.Series[] = [{}];
      const bands: uPlot.Band[] = [];
      policies.forEach((p, i) => {
        const name = policyVar(view.colourOf(p));
        const edge = { show: visible[i]!, width: 0, stroke: "transparent", points: { show: false } };
        series.push({ show: visible[i]!, label: p, stroke: () => colour(name), width: 2, dash: policyDash(view.colourOf(p)), points: { show: false } }, edge, edge);
        bands.push({ series: [meanAt(i) + 1, meanAt(i) + 2], fill: () => `${colour(name)}26` });
      });
      chart.plot = new uPlot({
        width, height: HEIGHT, series, bands, axes: axes(view.xLabel, label()),
        padding: [12, width < 460 ? 10 : 104, 0, 0], legend: { show: false },
        scales: { x: { time: false }, y: { range: yRange } },
        cursor: {
          sync: { key: `curves-${view.trace}`, setSeries: false }, drag: { x: true, y: true, uni: 24 }, focus: { prox: -1 },
          points: { one: false, show: (_u, k) => ((k - 1) % 3 === 0 ? dot(view, policies[(k - 1) / 3]!) : document.createElement("i")) },
        },
        plugins: [fullMark(view), endLabels(view, meanAt)],
        hooks: { setCursor: [(u) => follow(u.cursor.idx ?? null)] },
      }, dataOf(chart.key), box);
      chart.plot.setScale("x", { min: zoom[0], max: zoom[1] });
    };
    keyboard(box, () => xs.length, () => index ?? restIndex, (i) => moveTo(i));
    return chart;
  }
  const fragLabel = (): string => (fragKey === "fragmentation_pct" ? "Stranded GPU, % of cluster" : "Stranded GPU, % of idle GPU");
  const charts = [make(() => "allocation_pct", () => "Allocated GPU, % of cluster"), make(() => fragKey, fragLabel)];
  const hasQueue = view.has("series", "queued");
  if (hasQueue) charts.push(make(() => "queued", () => "Requests waiting"));

  // The legend is also the read-out: values at the cursor, or at 100 % arrived while nothing is pointed at.
  const where = h("span", { class: "where", "aria-live": "polite" });
  const readings = READINGS.filter((r) => view.has("series", r.key));
  const outs = policies.map(() => readings.map(() => h("td", { class: "num" })));
  const legendRows = policies.map((p, i) => {
    const button = h("button", { type: "button", class: "key", "aria-pressed": "true", title: "Show or hide this policy" }, chip(`var(--${policyVar(view.colourOf(p))})`, "line"), p);
    button.addEventListener("click", () => {
      visible[i] = !visible[i];
      button.setAttribute("aria-pressed", String(visible[i]));
      for (const c of charts) for (let k = 0; k < 3; ++k) c.plot?.setSeries(meanAt(i) + k, { show: visible[i]! });
    });
    return h("tr", {}, h("th", { scope: "row" }, button), ...outs[i]!);
  });
  const legend = h("table", { class: "legend" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, where), ...readings.map((r) => h("th", { scope: "col", class: "num" }, r.label)))), h("tbody", {}, ...legendRows));

  function follow(i: number | null): void {
    if (i === index && i !== null) return;
    index = i;
    readOut();
  }
  function readOut(): void {
    const at = index ?? restIndex, x = xs[at]!;
    where.textContent = view.percent ? `At ${Number(x.toFixed(1))}\u2009% arrived` : `${view.xLabel}: ${Number(x.toFixed(2))}`;
    policies.forEach((p, i) => readings.forEach((r, k) => {
      const curve = view.curve(p, "series", r.key), mean = curve.mean[at] ?? null, std = curve.std[at] ?? null;
      outs[i]![k]!.replaceChildren(format(mean, r.unit, view.seeds === 1), std !== null && mean !== 0 ? h("span", { class: "spread" }, ` \u00b1 ${fixed(std, r.unit === "pct" ? 2 : 1)}`) : "");
    }));
  }
  function moveTo(i: number): void {
    for (const c of charts) {
      const u = c.plot;
      if (!u) continue;
      const y = view.curve(policies[0]!, "series", c.key).mean[i] ?? u.scales.y!.min ?? 0;
      u.setCursor({ left: u.valToPos(xs[i]!, "x"), top: u.valToPos(y, "y") }, false);
    }
    follow(i);
  }
  const rebuild = (): void => {
    for (const c of charts) c.build();
    readOut();
  };

  const ratioNote = h("p", { class: "note", hidden: true }, "This ratio nears 100\u2009% in every full cluster: when almost nothing is idle, almost all that is left is of no use. Compare policies by % of the cluster.");
  const captions = charts.map((_, i) => h("h3", {}, ["Allocation", "Fragmentation", "Queue"][i]!));
  const controls = h("div", { class: "controls" },
    choice<string>("Range", ranges.map((r): [string, string] => [r.key, r.label]), ranges[0]!.key, (v) => {
      zoom = [ranges.find((r) => r.key === v)!.from, xs[last]!];
      for (const c of charts) c.plot?.setScale("x", { min: zoom[0], max: zoom[1] });
    }),
    view.seeds > 1 ? choice<Band>("Band", [["std", "\u00b1 std"], ["range", "min\u2013max"], ["none", "none"]], band, (v) => {
      band = v;
      for (const c of charts) c.plot?.setData(dataOf(c.key), false), c.plot?.redraw();
    }) : null,
    choice<string>("Fragmentation as", [["fragmentation_pct", "% of cluster"], ["fragmentation_ratio_pct", "% of idle"]], fragKey, (v) => {
      fragKey = v;
      ratioNote.hidden = v === "fragmentation_pct";
      rebuild();
    }));
  const grid = h("div", { class: "charts" }, ...charts.map((c, i) => h("figure", {}, captions[i], c.box)));
  const steps = xs.length <= 14 ? xs.map((_, i) => i) : Array.from({ length: 14 }, (_, k) => Math.round((k * last) / 13));
  const values = h("details", {}, h("summary", {}, "Values as a table"));
  values.addEventListener("toggle", () => {
    if (!values.open || values.childElementCount > 1) return;
    const keys: [string, string][] = [["allocation_pct", "allocated"], ["fragmentation_pct", "stranded"]];
    const columns = [{ label: view.xLabel, numeric: true }, ...policies.flatMap((p) => keys.map(([, word]) => ({ label: `${p}, ${word} %`, numeric: true })))];
    values.append(sortable("Curves, mean over seeds", columns, steps.map((i) => [{ text: String(Number(xs[i]!.toFixed(2))), sort: xs[i]! },
      ...policies.flatMap((p) => keys.map(([key]) => {
        const m = view.curve(p, "series", key).mean[i] ?? null;
        return { text: m === null ? NA : m.toFixed(2), sort: m };
      }))]), { column: 0, down: false }));
  });

  const section = panel("Curves", "", controls, grid, ratioNote, h("div", { class: "scroll" }, legend),
    h("p", { class: "note screen" }, "Drag across a chart to zoom, in x or in both directions; double-click to go back. Click a name to hide its line."), values);
  section.id = "curves";
  let width = 0;
  new ResizeObserver(() => {
    const now = charts[0]!.box.clientWidth;
    if (now === width || now === 0) return;
    // Labels come and go with the width, so a resize across that limit needs new padding and thus a new plot.
    width = now;
    rebuild();
  }).observe(charts[0]!.box);
  onTheme(() => charts.forEach((c) => c.plot?.redraw()));
  return section;
}

function dot(view: View, policy: string): HTMLElement {
  const element = document.createElement("div");
  element.style.background = `var(--${policyVar(view.colourOf(policy))})`;
  element.style.width = element.style.height = "8px";
  element.style.margin = "-4px 0 0 -4px";
  return element;
}
