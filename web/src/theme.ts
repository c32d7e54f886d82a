// Colours. Canvas cannot use CSS variables by itself, so both sides read the palette from the same custom
// properties in style.css; a change of theme makes the canvases draw again.

type Mode = "auto" | "light" | "dark";
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];
let mode: Mode = "auto";
let cache = new Map<string, string>();

/** Value of the custom property `--name`. */
export function colour(name: string): string {
  let value = cache.get(name);
  if (value === undefined) {
    value = getComputedStyle(root).getPropertyValue(`--${name}`).trim() || "#888";
    cache.set(name, value);
  }
  return value;
}

const CAUSES = ["no_card_fits", "cpu_short", "both", "model_not_allowed", "dust", "cpu_only"];
/** Name of a cause's colour; a cause this page does not know yet is grey, not invisible. */
export const causeVar = (key: string): string => (CAUSES.includes(key) ? `cause-${key.replaceAll("_", "-")}` : "cause-other");

const POLICY_COLOURS = 8;
export const policyVar = (index: number): string => `p${index % POLICY_COLOURS}`;
// A second sign beside colour. The first rounds of colours are solid and dashed in turn.
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [], [5, 2, 1, 2], [12, 4], [3, 5]];
export const policyDash = (index: number): number[] => DASHES[(index + Math.floor(index / POLICY_COLOURS)) % DASHES.length] ?? [];

export function onTheme(listener: () => void): void {
  listeners.push(listener);
}

function apply(printing = false): void {
  root.dataset.theme = printing ? "light" : mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
  cache = new Map();
  for (const listener of listeners) listener();
}

export function themeButton(): HTMLElement {
  const button = document.createElement("button");
  const show = (): void => {
    button.textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[mode];
  };
  button.type = "button";
  button.className = "theme";
  button.addEventListener("click", () => {
    mode = mode === "auto" ? (dark.matches ? "light" : "dark") : mode === "dark" ? "light" : "dark";
    show();
    apply();
  });
  show();
  return button;
}

dark.addEventListener("change", () => apply());
addEventListener("beforeprint", () => apply(true));
addEventListener("afterprint", () => apply());
apply();
