// A scenario's arms side by side: few cards, so each is a big box with the pods' names in its slices.

import type { Arm, Card, Node, Report } from "./data";
import { choice, chip, fixed, format, gib, h, NA, panel } from "./dom";
import { defaultMeasure, describe, hideTip, mapLegend, mapTable, MapView, portions, shown, showTip, strandedMilli, type Measure, type Shown } from "./map";
import { causeVar, onTheme } from "./theme";

const BIG = 96; // cards of an arm that still get a box with names; beyond that the canvas map is more readable

function bigCard(report: Report, node: Node, index: number, measure: Measure, state: Shown): HTMLElement {
  const card: Card = node.cards[index]!, parts = portions(card, measure);
  const body = h("div", { class: "big-body" });
  const percent = (part: number): string => `${fixed(part * 100, part * 100 % 1 > 0.05 && part < 0.1 ? 1 : 0)}\u2009%`;
  card.slices.forEach((slice, i) => {
    const part = parts[i]!;
    const element = h("div", { class: `big-slice ${slice.kind}`, "data-pod": slice.pod });
    element.style.flexBasis = `${part * 100}%`;
    element.style.background = `var(--kind-${slice.kind})`;
    if (part >= 0.08) element.append(h("span", { class: "pod" }, slice.pod), h("span", { class: "amount" }, percent(part) + (part >= 0.18 && slice.mem_mib !== null ? ` \u00b7 ${gib(slice.mem_mib)}` : "")));
    element.classList.toggle("tall", part >= 0.18);
    body.append(element);
    ++state.slices;
  });
  const free = Math.max(0, 1 - parts.reduce((a, b) => a + b, 0));
  if (free > 0.001) {
    const lost = strandedMilli(card) > 0;
    const element = h("div", { class: `big-free${lost ? ` hatch ${card.cause ?? ""} lost` : ""}` });
    if (lost) element.style.setProperty("--c", `var(--${causeVar(card.cause ?? "")})`);
    element.style.flexBasis = `${free * 100}%`;
    if (free >= 0.08) element.append(h("span", { class: "tag" }, card.slices.length === 0 && !lost ? "idle" : `${percent(free)} ${lost ? "stranded" : "free"}`));
    body.append(element);
  }
  const element = h("div", { class: "big-card", tabindex: "0", role: "img", "aria-label": describe(node, index, report.causes) }, body, h("span", { class: "big-name" }, `card ${index}`));
  const show = (at: { x: number; y: number }, target: EventTarget | null): void => {
    const pod = target instanceof HTMLElement ? target.closest<HTMLElement>("[data-pod]")?.dataset.pod : undefined;
    const i = card.slices.findIndex((s) => s.pod === pod);
    showTip(at, node, index, i < 0 ? null : i, report.causes);
  };
  element.addEventListener("pointermove", (e) => show({ x: e.clientX, y: e.clientY }, e.target));
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("focus", () => {
    if (!element.matches(":focus-visible")) return;
    const r = element.getBoundingClientRect();
    show({ x: r.right - 10, y: r.top + 10 }, null);
  });
  element.addEventListener("blur", hideTip);
  ++state.cells;
  return element;
}

function bigMap(report: Report, mapIndex: number, measure: Measure): { element: HTMLElement; state: Shown } {
  const map = report.maps[mapIndex]!;
  const element = h("div", { class: "big-map" });
  const state: Shown = {
    map: mapIndex, cells: 0, slices: 0,
    find: (pod) => {
      const target = [...element.querySelectorAll<HTMLElement>("[data-pod]")].find((e) => e.dataset.pod === pod);
      if (!target) return null;
      target.scrollIntoView({ block: "center", behavior: "instant" });
      const r = target.getBoundingClientRect();
      return { x: r.left + r.width / 2, y: r.top + r.height / 2 };
    },
  };
  for (const node of map.nodes) {
    const used = node.cpu_milli > 0 ? Math.min(1, Math.max(0, 1 - node.cpu_free_milli / node.cpu_milli)) : 0;
    const cpu = h("span", { class: "cpu-fill" });
    cpu.style.width = `${used * 100}%`;
    const free = node.cards.reduce((n, c) => n + c.free_milli, 0);
    element.append(h("div", { class: "big-node" },
      h("div", { class: "big-head" }, h("strong", {}, node.name), h("span", {}, node.model), h("span", { class: "right" }, node.cards.length > 0 ? `${format(free / 1000, "gpus")} free` : "no cards")),
      h("div", { class: "big-cards" }, ...node.cards.map((_, i) => bigCard(report, node, i, measure, state))),
      h("div", { class: "cpu", title: "CPU in use" }, h("span", { class: "cpu-bar" }, cpu), h("span", {}, `CPU ${fixed((node.cpu_milli - node.cpu_free_milli) / 1000, 0)} of ${fixed(node.cpu_milli / 1000, 0)} cores`))));
  }
  return { element, state };
}

function tiles(arm: Arm, first: Arm | null): HTMLElement {
  return h("dl", { class: "tiles" }, ...arm.kpis.map((k) => {
    const was = first?.kpis.find((o) => o.label === k.label);
    const changed = was !== undefined && was.value !== k.value;
    const say = (o: { value: string; unit: string }): string => (o.value === "" ? NA : o.value + (o.unit ? `\u2009${o.unit}` : ""));
    return h("div", { class: changed ? "changed" : "" }, h("dt", {}, k.label), h("dd", {}, say(k), changed ? h("small", {}, `against ${say(was)}`) : null));
  }));
}

export function comparePanel(report: Report): HTMLElement | null {
  const { comparison } = report;
  if (!comparison || comparison.arms.length === 0) return null;
  const used = [...new Set(comparison.arms.map((a) => a.map).filter((i): i is number => i !== null))].map((i) => report.maps[i]!);
  let measure = defaultMeasure(used);
  const memory = used.some((m) => m.nodes.some((n) => n.cards.some((c) => c.slices.some((s) => s.mem_mib !== null))));
  const grid = h("div", { class: "arms" });
  grid.style.setProperty("--arms", String(comparison.arms.length));
  let mine: Shown[] = [], canvases: MapView[] = [];

  function build(): void {
    for (const state of mine) shown.delete(state);
    for (const view of canvases) view.destroy();
    mine = [];
    canvases = [];
    grid.replaceChildren(...comparison!.arms.map((arm, i) => {
      let map: HTMLElement = h("p", { class: "note" }, "No map was recorded for this arm.");
      if (arm.map !== null) {
        const cards = report.maps[arm.map]!.nodes.reduce((n, node) => n + node.cards.length, 0);
        if (cards <= BIG) {
          const big = bigMap(report, arm.map, measure);
          mine.push(big.state);
          shown.add(big.state);
          map = big.element;
        } else {
          const view = new MapView(report, arm.map, { cell: cards > 2000 ? 6 : 8, order: "cluster", measure }, (node, card) => canvases.forEach((v) => v !== view && v.mark(node, card)));
          canvases.push(view);
          map = view.element;
        }
      }
      return h("article", { class: "arm" }, h("h3", {}, chip(`var(--p${i % 8})`), arm.name), tiles(arm, i > 0 ? comparison!.arms[0]! : null), map);
    }));
  }
  build();
  onTheme(() => canvases.forEach((v) => v.draw()));
  const section = panel("Side by side", comparison.summary,
    h("div", { class: "controls" }, mapLegend(report, used), memory ? choice<Measure>("Slices by", [["compute", "compute"], ["memory", "memory"]], measure, (v) => {
      measure = v;
      build();
    }) : null), grid, ...used.map((m) => mapTable(m, report.causes)));
  section.id = "compare";
  return section;
}
