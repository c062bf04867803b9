// A guest's serial console: asks for a ticket, opens the line, and opens it again when it is cut.
import { Terminal } from "../vendor/xterm/xterm.js";
import { FitAddon } from "../vendor/xterm/addon-fit.js";
import { socketAddress, ticket } from "./ticket.js";
import { harmless } from "./harmless.js";

const TRIES = 8;
const LINE_MS = 30000;
const NEVER = [4401, 4403];
const root = document.documentElement;
const box = document.getElementById("serial");
const say = (name) => box.dataset[`text${name}`] || "";
const part = (name) => box.querySelector(`[data-serial-${name}]`);
const view = part("view");
const cover = part("cover");
const bytes = new TextEncoder();
let socket = null;
let tries = 0;
let timer = null;
let attempt = 0;

// The page's policy forbids style elements and style attributes, which this terminal makes; both have a way that it allows.
const make = document.createElement;
document.createElement = function createElement(name, ...rest) {
  if (name !== "style") return make.call(document, name, ...rest);
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  const stand = make.call(document, "span");
  stand.hidden = true;
  Object.defineProperty(stand, "textContent", { set: (text) => sheet.replaceSync(text) });
  return stand;
};
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function set(name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const terminal = new Terminal({
  cursorBlink: true, scrollback: 5000, fontSize: 14, macOptionIsMeta: true,
  fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  theme: { background: "#05080d", foreground: "#d6e2f3", cursor: "#8fc2ff", selectionBackground: "#2f4f80" },
});
const fit = new FitAddon();
harmless(terminal);
terminal.loadAddon(fit);
terminal.open(view);
const resize = () => { if (view.clientWidth && view.clientHeight) fit.fit(); };
new ResizeObserver(resize).observe(view);
resize();
// What a browser keeps for itself: its own copy and paste, one key further away.
terminal.attachCustomKeyEventHandler((event) => {
  if (!(event.ctrlKey && event.shiftKey) || !["KeyC", "KeyV"].includes(event.code)) return true;
  if (event.code === "KeyC" && event.type === "keydown") {
    event.preventDefault();
    document.execCommand("copy");
  }
  return false;
});
const send = (data) => { if (socket?.readyState === WebSocket.OPEN) socket.send(data); };
terminal.onData((text) => send(bytes.encode(text)));
terminal.onBinary((text) => send(Uint8Array.from(text, (sign) => sign.charCodeAt(0))));

function show(state, title, why = "") {
  root.dataset.serial = state;
  const line = part("state");
  line.dataset.state = state;
  line.textContent = title;
  part("what").textContent = title;
  part("why").textContent = why;
  cover.hidden = state === "connected";
  cover.querySelector(".icon").style.display = state === "ended" ? "none" : "";
  for (const button of cover.querySelectorAll("button")) button.hidden = state !== "ended";
  box.querySelector("[data-serial=size]").disabled = state !== "connected";
}

function close() {
  clearTimeout(timer);
  attempt += 1;
  const old = socket;
  socket = null;
  old?.close();
}

function again(problem) {
  if (problem?.final || tries >= TRIES) {
    show("ended", problem?.message || say("Ended"), problem ? problem.why || "" : say("GaveUp"));
    return;
  }
  tries += 1;
  const wait = Math.min(10000, 400 * 2 ** (tries - 1)) * (0.75 + Math.random() / 2);
  show("waiting", say("Waiting"), problem?.message ? [problem.message, problem.why].filter(Boolean).join(". ") : say("Dropped"));
  timer = setTimeout(open, wait);
}

async function open() {
  close();
  const mine = attempt;
  if (tries === 0 && root.dataset.serial !== "ended") show("starting", say("Starting"), say("Ticket"));
  let form;
  try {
    form = await ticket(box.dataset.ticketUrl);
  } catch (problem) {
    if (mine === attempt) again(problem);
    return;
  }
  if (mine !== attempt) return;
  socket = new WebSocket(socketAddress(form), ["binary"]);
  socket.binaryType = "arraybuffer";
  let heard = false;
  const hear = () => {
    if (mine !== attempt || heard) return;
    heard = true;
    clearTimeout(timer);
    tries = 0;
    show("connected", say("Connected"));
    if (!document.activeElement || document.activeElement === document.body) terminal.focus();
  };
  // The line stands when the first byte came: that of the log, which every machine has that began to start.
  timer = setTimeout(() => { if (mine === attempt && !heard) { close(); again(null); } }, LINE_MS);
  // What was said before comes again with each line.
  socket.addEventListener("open", () => { if (mine === attempt) terminal.reset(); });
  socket.addEventListener("message", (event) => {
    if (mine !== attempt) return;
    hear();
    terminal.write(new Uint8Array(event.data));
  });
  socket.addEventListener("close", (event) => {
    if (mine !== attempt) return;
    socket = null;
    clearTimeout(timer);
    const [what, why] = event.reason.split("\n");
    const problem = what && event.code !== 1000 ? new Error(what) : null;
    if (problem) { problem.why = why; problem.final = NEVER.includes(event.code); }
    again(problem);
  });
}

const actions = {
  again: () => { tries = 0; show("starting", say("Starting"), say("Ticket")); open(); },
  full: () => (document.fullscreenElement ? document.exitFullscreen() : box.requestFullscreen()),
  // A serial line does not carry the size of what shows it: a shell is told by hand.
  size: () => { send(bytes.encode(` stty rows ${terminal.rows} cols ${terminal.cols}\r`)); terminal.focus(); },
};
box.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-serial]");
  if (button) actions[button.dataset.serial](button);
});
addEventListener("pagehide", close);
// A machine that ran no more may run again: that is tried without a word, for a refusal says what it said before.
document.addEventListener("educloud:changed", (event) => {
  const { noun, id } = event.detail;
  if (root.dataset.serial !== "ended" || (noun && (noun !== "instance" || id !== box.dataset.instance))) return;
  tries = 0;
  open();
});
addEventListener("online", () => { if (!socket) actions.again(); });
open();
