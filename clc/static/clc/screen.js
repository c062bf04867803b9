// A guest's screen: asks for a ticket, opens the line, and opens it again when it is cut.
import RFB from "../vendor/novnc/core/rfb.js";
import { type, untypable } from "./keys.js";
import { socketAddress, ticket } from "./ticket.js";

const TRIES = 8;
const LINE_MS = 30000;
const root = document.documentElement;
const box = document.getElementById("screen");
const say = (name) => box.dataset[`text${name}`] || "";
const part = (name) => box.querySelector(`[data-screen-${name}]`);
const buttons = (name) => [...box.querySelectorAll(`[data-screen="${name}"]`)];
const view = part("view");
const cover = part("cover");
let rfb = null;
let tries = 0;
let timer = null;
let attempt = 0;
let scale = true;

function show(state, title, why = "") {
  root.dataset.screen = state;
  const line = part("state");
  line.dataset.state = state;
  line.textContent = title;
  part("what").textContent = title;
  part("why").textContent = why;
  cover.hidden = state === "connected";
  cover.querySelector(".icon").style.display = state === "ended" ? "none" : "";
  for (const button of cover.querySelectorAll("button")) button.hidden = state !== "ended";
  for (const name of ["cad", "paste"]) for (const button of buttons(name)) button.disabled = state !== "connected";
}

function drawn() {
  const canvas = view.querySelector("canvas");
  if (!canvas || !canvas.width || !canvas.height) return false;
  const probe = document.createElement("canvas");
  probe.width = probe.height = 8;
  const pen = probe.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0, 8, 8);
  const pixels = pen.getImageData(0, 0, 8, 8).data;
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at]) return true;
  return false;
}

function close() {
  clearTimeout(timer);
  attempt += 1;
  if (rfb) {
    const old = rfb;
    rfb = null;
    old.disconnect();
  }
  view.replaceChildren();
}

function again(problem) {
  if (problem?.final || tries >= TRIES) {
    show("ended", problem?.message || say("Ended"), problem?.why || say("GaveUp"));
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
  if (tries === 0 && root.dataset.screen !== "ended") show("starting", say("Starting"), say("Ticket"));
  let form;
  try {
    form = await ticket(box.dataset.ticketUrl);
  } catch (problem) {
    if (mine === attempt) again(problem);
    return;
  }
  if (mine !== attempt) return;
  rfb = new RFB(view, socketAddress(form), { wsProtocols: ["binary"], shared: true, credentials: form.password ? { password: form.password } : {} });
  rfb.scaleViewport = scale;
  rfb.clipViewport = !scale;
  rfb.background = "#05080d";
  rfb.showDotCursor = true;
  // a line that stands and says nothing ends nowhere by itself
  timer = setTimeout(() => {
    if (mine !== attempt) return;
    close();
    again(null);
  }, LINE_MS);
  rfb.addEventListener("connect", () => {
    clearTimeout(timer);
    show("waiting", say("Waiting"), say("First"));
    const look = () => {
      if (mine !== attempt) return;
      if (!drawn()) { setTimeout(look, 80); return; }
      tries = 0;
      show("connected", say("Connected"));
      if (!document.activeElement || document.activeElement === document.body) rfb.focus({ preventScroll: true });
    };
    look();
  });
  rfb.addEventListener("disconnect", () => {
    if (mine !== attempt) return;
    rfb = null;
    clearTimeout(timer);
    again(null);
  });
  rfb.addEventListener("securityfailure", (event) => {
    close();
    show("ended", say("Ended"), event.detail.reason || "");
  });
}

const actions = {
  cad: () => rfb?.sendCtrlAltDel(),
  again: () => {
    tries = 0;
    show("starting", say("Starting"), say("Ticket"));
    open();
  },
  full: () => (document.fullscreenElement ? document.exitFullscreen() : box.requestFullscreen()),
  scale: (button) => {
    scale = !scale;
    button.setAttribute("aria-pressed", String(scale));
    if (rfb) { rfb.scaleViewport = scale; rfb.clipViewport = !scale; rfb.dragViewport = !scale; }
  },
  paste: (button) => {
    const form = part("paste");
    form.hidden = !form.hidden;
    button.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) form.querySelector("textarea").focus();
  },
};
box.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-screen]");
  if (button) actions[button.dataset.screen](button);
});

// A text console has no clipboard, so the text is typed, key by key.
const paste = part("paste");
const text = paste.querySelector("textarea");
const wrong = part("wrong");
const layout = paste.querySelector("select");
const KEPT = "educloud-keyboard";
try {
  const kept = localStorage.getItem(KEPT);
  if ([...layout.options].some((option) => option.value === kept)) layout.value = kept;
} catch { /* private window: this page only */ }
const judge = () => {
  const strange = untypable(text.value, layout.value).map((sign) => (/[\p{Z}\p{C}]/u.test(sign) ? `U+${sign.codePointAt(0).toString(16).toUpperCase()}` : sign));
  wrong.textContent = strange.length ? `${say("Untypable")} ${strange.slice(0, 20).join(" ")}${strange.length > 20 ? " …" : ""}` : "";
  text.setAttribute("aria-invalid", String(strange.length > 0));
  return strange.length === 0;
};
text.addEventListener("input", judge);
layout.addEventListener("change", () => {
  try { localStorage.setItem(KEPT, layout.value); } catch { /* as above */ }
  judge();
});
paste.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!text.value || !judge()) { text.focus(); return; }
  const button = paste.querySelector("button");
  button.disabled = true;
  // What a line that is cut leaves untyped stays in the box.
  text.value = await type(text.value, (keysym, code, down) => { rfb?.sendKey(keysym, code, down); return rfb !== null; }, undefined, layout.value);
  button.disabled = false;
  if (text.value) return;
  if (!paste.hidden) actions.paste(buttons("paste")[0]);
  rfb?.focus();
});
addEventListener("pagehide", close);
// A machine that ran no more may run again: that is tried without a word, for a refusal says what it said before.
document.addEventListener("educloud:changed", (event) => {
  const { noun, id } = event.detail;
  if (root.dataset.screen !== "ended" || (noun && (noun !== "instance" || id !== box.dataset.instance))) return;
  tries = 0;
  open();
});
addEventListener("online", () => { if (!rfb) actions.again(); });
open();
