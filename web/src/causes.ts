// Why idle GPUs are of no use: stacked bars per policy at one x, and the same as areas over x for one policy.

import uPlot from "uplot";

import type { Num, View } from "./data";
import { choice, chip, format, h, NA, panel, plural, select } from "./dom";
import { axes, fullMark, keyboard } from "./curves";
import { causeVar, colour, onTheme, policyVar } from "./theme";

export function causesPanel(view: View): HTMLElement | null {
  const causes = view.report.causes.filter((c) => view.has("causes_gpus", c.key));
  const { xs, policies } = view, last = xs.length - 1;
  if (causes.length === 0 || last < 0) return null;
  let at = view.restIndex();
  let chosen = 0;
  const gpus = view.report.cluster.gpu_milli / 1000;
  const means = policies.map((p) => causes.map((c) => view.curve(p, "causes_gpus", c.key).mean));
  const total = (i: number, x: number): Num => {
    const parts = means[i]!.map((m) => m[x] ?? null).filter((v): v is number => v !== null);
    return parts.length > 0 ? parts.reduce((a, b) => a + b, 0) : null;
  };
  const say = (x: number): string => (view.percent ? `${Number(x.toFixed(1))}\u2009% arrived` : `${view.xLabel} ${Number(x.toFixed(2))}`);

  const rows = policies.map((p, i) => {
    const bar = h("div", { class: "bar" }), sum = h("span", { class: "sum" });
    const segments = causes.map((c) => {
      const segment = h("span", { class: `seg hatch ${c.key}` });
      segment.style.setProperty("--c", `var(--${causeVar(c.key)})`);
      return segment;
    });
    bar.append(...segments);
    const row = h("div", { class: "bar-row", role: "listitem" }, h("span", { class: "name", title: p }, chip(`var(--${policyVar(view.colourOf(p))})`), p), bar, sum);
    return { row, bar, sum, segments, i };
  });
  const output = h("output", {});
  const slider = h("input", { type: "range", min: 0, max: last, step: 1, value: at, "aria-label": "Arrived demand at which the bars are read" });
  slider.addEventListener("input", () => {
    at = Number(slider.value);
    draw();
  });
  let unit: "gpus" | "share" = "gpus";

  function draw(): void {
    output.textContent = say(xs[at]!);
    slider.setAttribute("aria-valuetext", say(xs[at]!));
    const totals = rows.map(({ i }) => total(i, at));
    const scale = unit === "share" ? null : Math.max(1e-9, ...totals.map((t) => t ?? 0));
    for (const { row, sum, segments, i } of rows) {
      const t = totals[i] ?? null;
      sum.textContent = t === null ? NA : `${format(t, "gpus")} \u00b7 ${((t / gpus) * 100).toFixed(2)}\u2009%`;
      const words: string[] = [];
      causes.forEach((c, k) => {
        const v = means[i]![k]![at] ?? null, segment = segments[k]!;
        const of = scale ?? t ?? 1;
        segment.style.width = v === null || of === 0 ? "0" : `${(v / of) * 100}%`;
        segment.textContent = v !== null && v / of > 0.085 ? (unit === "share" ? `${Math.round((v / (t || 1)) * 100)}%` : v.toFixed(v < 10 ? 1 : 0)) : "";
        segment.title = `${c.label}: ${format(v, "gpus")}`;
        words.push(segment.title);
      });
      row.setAttribute("aria-label", `${policies[i]}: ${sum.textContent}. ${words.join(", ")}`);
    }
    plot?.redraw();
  }

  // Areas: cumulative sums painted from the top down, so that each covers the part below it.
  const box = h("div", { class: "chart", tabindex: "0", role: "img" });
  const readout = h("p", { class: "readout" });
  let plot: uPlot | null = null, width = 0, cursor: number | null = null;
  const highest = Math.max(1, ...policies.flatMap((_, i) => xs.map((_x, k) => total(i, k) ?? 0)));
  function build(): void {
    plot?.destroy();
    const p = policies[chosen]!;
    box.setAttribute("aria-label", `Stranded GPUs by cause over ${view.xLabel} under ${p}. Left and right arrow keys read values.`);
    const sums: Num[][] = [];
    causes.forEach((_, k) => sums.push(xs.map((_x, j) => {
      const v = means[chosen]![k]![j] ?? null;
      return total(chosen, j) === null ? null : (k > 0 ? (sums[k - 1]![j] ?? 0) : 0) + (v ?? 0);
    })));
    const order = causes.map((_, k) => causes.length - 1 - k);
    plot = new uPlot({
      width: Math.max(280, box.clientWidth), height: 270, legend: { show: false }, padding: [12, 12, 0, 0], axes: axes(view.xLabel, "GPUs"),
      scales: { x: { time: false }, y: { range: [0, highest * 1.04] } },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      series: [{}, ...order.map((k) => ({ label: causes[k]!.label, stroke: () => colour("surface"), width: 1, fill: () => colour(causeVar(causes[k]!.key)), points: { show: false } }))],
      plugins: [fullMark(view), mark()],
      hooks: { setCursor: [(u) => read(u.cursor.idx ?? null)] },
    }, [xs, ...order.map((k) => sums[k]!)] as uPlot.AlignedData, box);
    read(null);
  }
  function read(i: number | null): void {
    cursor = i;
    const j = i ?? at;
    readout.replaceChildren(h("strong", {}, say(xs[j]!)), `: ${format(total(chosen, j), "gpus")} stranded`,
      ...causes.map((c, k) => h("span", { class: "part" }, chip(`var(--${causeVar(c.key)})`, `hatch ${c.key}`), `${c.label} ${format(means[chosen]![k]![j] ?? null, "gpus")}`)));
  }
  /** A line where the bars' slider stands. */
  const mark = (): uPlot.Plugin => ({
    hooks: {
      draw: (u) => {
        const x = Math.round(u.valToPos(xs[at]!, "x", true)), { ctx, bbox } = u;
        ctx.save();
        ctx.fillStyle = colour("ink");
        ctx.fillRect(x - devicePixelRatio / 2, bbox.top, devicePixelRatio, bbox.height);
        ctx.restore();
      },
    },
  });
  keyboard(box, () => xs.length, () => cursor ?? at, (i) => {
    plot?.setCursor({ left: plot.valToPos(xs[i]!, "x"), top: 10 }, false);
    read(i);
  });

  const key = h("ul", { class: "legend-row" }, ...causes.map((c) => h("li", {}, chip(`var(--${causeVar(c.key)})`, `hatch ${c.key}`), c.label)));
  const missing = view.report.causes.filter((c) => !causes.includes(c)).map((c) => c.label);
  const bars = h("figure", {}, h("h3", {}, "By policy"), h("label", { class: "slider" }, h("span", {}, "At "), output, slider),
    h("div", { class: "bars", role: "list" }, ...rows.map((r) => r.row)));
  const over = h("figure", {}, h("h3", {}, "Over the run"), policies.length > 1 ? select("Policy", policies, chosen, (i) => {
    chosen = i;
    build();
  }) : null, box, readout);
  const section = panel("Stranded GPUs by cause", `Idle GPU that the typical request mix cannot use, weighted by how often each request shape is asked for.${view.seeds > 1 ? ` Mean over ${plural(view.seeds, "seed")}.` : ""}`,
    h("div", { class: "controls" }, key, choice<"gpus" | "share">("Bars as", [["gpus", "GPUs"], ["share", "share"]], unit, (v) => {
      unit = v;
      draw();
    })), h("div", { class: "charts" }, bars, over), missing.length > 0 ? h("p", { class: "note" }, `Not recorded: ${missing.join("; ")}.`) : null);
  section.id = "causes";
  draw();
  new ResizeObserver(() => {
    if (box.clientWidth === width || box.clientWidth === 0) return;
    width = box.clientWidth;
    build();
  }).observe(box);
  onTheme(() => plot?.redraw());
  return section;
}
