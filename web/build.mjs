// Builds dist/report.html.tmpl: one HTML page with its script and style inlined, and one placeholder for the data.
// `--check` builds in memory and fails when the committed file differs, so that nobody edits dist by hand.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "dist", "report.html.tmpl");
const limit = 300 * 1024;
const placeholder = "@BASALT_REPORT_DATA@"; // report/html.cc looks for exactly this, exactly once

async function bundle(entry, loader) {
  const result = await build({
    entryPoints: [join(here, entry)],
    absWorkingDir: here,
    bundle: true,
    minify: true,
    write: false,
    charset: "ascii",
    format: loader === "js" ? "iife" : undefined,
    target: ["es2022", "chrome110", "firefox113", "safari16.4"], // the first with DecompressionStream
    legalComments: "inline",
    logLevel: "warning",
  });
  return result.outputFiles[0].text.trimEnd();
}

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const script = await bundle("src/main.ts", "js");
const style = await bundle("src/style.css", "css");
for (const [name, text] of [["script", script], ["style", style]]) {
  if (new RegExp(`</${name}`, "i").test(text)) throw new Error(`the ${name} would close its own tag`);
  if (text.includes(placeholder)) throw new Error(`the ${name} contains the data placeholder`);
}

// Hashes instead of 'unsafe-inline': whatever slips into the page's text, the browser runs this script only.
const csp = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; img-src data:; ` +
  "base-uri 'none'; form-action 'none'";
const shell = readFileSync(join(here, "src", "shell.html"), "utf8");
// uPlot's licence asks that its text goes with every copy, and each report is one.
const licence = readFileSync(join(here, "node_modules", "uplot", "LICENSE"), "utf8").trim();
if (licence.includes("--")) throw new Error("the licence would close its own comment");
const parts = { "%LICENCE%": licence, "%CSP%": csp, "%STYLE%": style, "%SCRIPT%": script, "%DATA%": placeholder };
const html = shell.replace(/%(LICENCE|CSP|STYLE|SCRIPT|DATA)%/g, (key) => parts[key]);

if (html.split(placeholder).length !== 2) throw new Error("the placeholder must occur exactly once");
const bytes = Buffer.byteLength(html);
if (bytes > limit) throw new Error(`the page has ${bytes} bytes, more than ${limit}`);

if (process.argv.includes("--check")) {
  let committed = "";
  try {
    committed = readFileSync(out, "utf8");
  } catch {
    // A missing file differs as well.
  }
  if (committed !== html) {
    console.error("web/dist/report.html.tmpl is not what web/src builds: run `npm run build --prefix web` and commit it");
    process.exit(1);
  }
  console.log(`web/dist/report.html.tmpl is up to date (${bytes} bytes)`);
} else {
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, html);
  console.log(`wrote ${out} (${bytes} bytes)`);
}
