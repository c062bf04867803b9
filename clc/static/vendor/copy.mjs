// Copies the few files the pages load out of node_modules, and joins the chosen icons into one sprite.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const from = join(here, "node_modules");
const icons = readFileSync(join(here, "icons.txt"), "utf8").split(/\s+/).filter(Boolean).sort();

for (const folder of ["htmx", "novnc", "inter", "xterm"]) rmSync(join(here, folder), { recursive: true, force: true });
for (const folder of ["tabler", "htmx", "inter", "xterm"]) mkdirSync(join(here, folder), { recursive: true });

const copy = (source, target) => cpSync(join(from, source), join(here, target), { recursive: true });
// A file that names a missing map breaks Django's hashed static files.
const bare = (source, target) => {
  const text = readFileSync(join(from, source), "utf8").replace(/\/\*# sourceMappingURL=.*?\*\//g, "").replace(/^\/\/# sourceMappingURL=.*$/gm, "");
  writeFileSync(join(here, target), text);
};
bare("@tabler/core/dist/css/tabler.min.css", "tabler/tabler.min.css");
copy("@tabler/icons/LICENSE", "tabler/LICENSE-icons");
copy("htmx.org/dist/htmx.min.js", "htmx/htmx.min.js");
copy("htmx.org/LICENSE", "htmx/LICENSE");
copy("@novnc/novnc/core", "novnc/core");
copy("@novnc/novnc/vendor", "novnc/vendor");
copy("@novnc/novnc/LICENSE.txt", "novnc/LICENSE.txt");
copy("@novnc/novnc/AUTHORS", "novnc/AUTHORS");
copy("@novnc/novnc/docs/LICENSE.MPL-2.0", "novnc/LICENSE.MPL-2.0");
copy("@fontsource-variable/inter/files/inter-latin-wght-normal.woff2", "inter/inter-latin-wght-normal.woff2");
copy("@fontsource-variable/inter/LICENSE", "inter/LICENSE");
bare("@xterm/xterm/lib/xterm.mjs", "xterm/xterm.js");
bare("@xterm/xterm/css/xterm.css", "xterm/xterm.css");
bare("@xterm/addon-fit/lib/addon-fit.mjs", "xterm/addon-fit.js");
copy("@xterm/xterm/LICENSE", "xterm/LICENSE");

const symbols = icons.map((name) => {
  const [folder, file] = name.endsWith("-filled") ? ["filled", name.slice(0, -7)] : ["outline", name];
  const svg = readFileSync(join(from, "@tabler/icons/icons", folder, `${file}.svg`), "utf8");
  const body = svg.replace(/<!--[\s\S]*?-->/g, "").replace(/^[\s\S]*?<svg[^>]*>/, "").replace(/<\/svg>\s*$/, "")
    .replace(/<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*\/>/, "").replace(/\s*\n\s*/g, "");
  const paint = folder === "filled"
    ? 'fill="currentColor"'
    : 'fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round"';
  return `<symbol id="${name}" viewBox="0 0 24 24" ${paint}>${body}</symbol>`;
});
writeFileSync(join(here, "tabler/icons.svg"), `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`);
