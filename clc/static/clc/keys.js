// Text as the keys of a keyboard. A guest sees keys, not letters: what it makes of them is its own layout's matter.
import { CODES, LAYOUTS } from "./layouts.js";

const SHIFT = { keysym: 0xffe1, code: "ShiftLeft" };
const ALTGR = { keysym: 0xfe03, code: "AltRight" };
const HELD = [[], [SHIFT], [ALTGR], [SHIFT, ALTGR]];
const DEAD = { "\u0300": [0xfe50, "`"], "\u0301": [0xfe51, ""], "\u0302": [0xfe52, "^"], "\u0303": [0xfe53, "~"], "\u0308": [0xfe57, ""] };
// With other letters not every system makes one of a mark and a letter.
const LETTERS = "aeiounyAEIOUNY";
// A keyboard's line to the guest holds 16 bytes; a letter with Shift takes 6, and a guest that is emulated reads slowly.
const PAUSE_MS = 40;

const SPACE = { keysym: 0x20, code: "Space", held: 0 };
const EVERYWHERE = [[" ", SPACE], ["\n", { keysym: 0xff0d, code: "Enter", held: 0 }], ["\t", { keysym: 0xff09, code: "Tab", held: 0 }]];
const keysym = (sign) => { const point = sign.codePointAt(0); return point < 0x100 ? point : 0x1000000 + point; };

// Sign -> the keys that are struck for it, each with what is held.
function table({ plain, shift, altgr = {}, both = {}, dead = [] }) {
  const made = new Map(EVERYWHERE.map(([sign, key]) => [sign, [key]]));
  const add = (sign, code, held) => { if (sign && sign !== " " && !made.has(sign)) made.set(sign, [{ keysym: keysym(sign), code, held }]); };
  CODES.forEach((code, at) => { add(plain[at], code, 0); add(shift[at], code, 1); });
  for (const [sign, code] of Object.entries(altgr)) add(sign, code, 2);
  for (const [sign, code] of Object.entries(both)) add(sign, code, 3);
  for (const [mark, code, held] of dead) {
    const [symbol, alone] = DEAD[mark];
    const first = { keysym: symbol, code, held };
    if (alone && !made.has(alone)) made.set(alone, [first, SPACE]);
    for (const letter of LETTERS) {
      const sign = (letter + mark).normalize("NFC");
      if (sign.length === 1 && !made.has(sign)) made.set(sign, [first, ...made.get(letter)]);
    }
  }
  return made;
}

const TABLES = new Map();
const signs = (layout) => {
  if (!TABLES.has(layout)) TABLES.set(layout, table(LAYOUTS[layout]));
  return TABLES.get(layout);
};

// The presses and releases that make one character; none where no key does.
export function keys(letter, layout = "us") {
  return (signs(layout).get(letter) || []).flatMap(({ keysym: symbol, code, held }) => [
    ...HELD[held].map((key) => ({ ...key, down: true })),
    { keysym: symbol, code, down: true }, { keysym: symbol, code, down: false },
    ...[...HELD[held]].reverse().map((key) => ({ ...key, down: false })),
  ]);
}

// A letter and its mark may come apart from where the text was copied.
const whole = (text) => [...text.normalize("NFC")];

export const untypable = (text, layout = "us") => [...new Set(whole(text))].filter((letter) => !signs(layout).has(letter));

// Types all of a text, or nothing of one with a character that has no key; tells what could not be typed of it.
export async function type(text, send, pause = (ms) => new Promise((done) => { setTimeout(done, ms); }), layout = "us") {
  const letters = whole(text);
  if (untypable(text, layout).length) return text;
  for (const [at, letter] of letters.entries()) {
    for (const { keysym: symbol, code, down } of keys(letter, layout)) if (!send(symbol, code, down)) return letters.slice(at).join("");
    await pause(PAUSE_MS);
  }
  return "";
}
