// Text as the keys of a US keyboard. A guest sees keys, not letters: what it makes of them is its own layout's matter.
const ROWS = [
  ["`1234567890-=", "~!@#$%^&*()_+", "Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal"],
  ["qwertyuiop[]\\", "QWERTYUIOP{}|", "KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Backslash"],
  ["asdfghjkl;'", "ASDFGHJKL:\"", "KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote"],
  ["zxcvbnm,./", "ZXCVBNM<>?", "KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash"],
];
const SHIFT = { keysym: 0xffe1, code: "ShiftLeft" };
// A keyboard's line to the guest holds 16 bytes; a letter with Shift takes 6, and a guest that is emulated reads slowly.
const PAUSE_MS = 40;

const KEYS = new Map([
  [" ", { keysym: 0x20, code: "Space", shift: false }],
  ["\n", { keysym: 0xff0d, code: "Enter", shift: false }],
  ["\t", { keysym: 0xff09, code: "Tab", shift: false }],
]);
for (const [plain, shifted, codes] of ROWS) {
  codes.split(" ").forEach((code, at) => {
    KEYS.set(plain[at], { keysym: plain.charCodeAt(at), code, shift: false });
    KEYS.set(shifted[at], { keysym: shifted.charCodeAt(at), code, shift: true });
  });
}

// The presses and releases that make one character; none where no key does.
export function keys(letter) {
  const key = KEYS.get(letter);
  if (!key) return [];
  const { keysym, code, shift } = key;
  const stroke = [{ keysym, code, down: true }, { keysym, code, down: false }];
  return shift ? [{ ...SHIFT, down: true }, ...stroke, { ...SHIFT, down: false }] : stroke;
}

export const untypable = (text) => [...new Set(text)].filter((letter) => !KEYS.has(letter));

// Types all of a text, or nothing of one with a character that has no key; tells what could not be typed of it.
export async function type(text, send, pause = (ms) => new Promise((done) => { setTimeout(done, ms); })) {
  const letters = [...text];
  if (untypable(text).length) return text;
  for (const [at, letter] of letters.entries()) {
    for (const { keysym, code, down } of keys(letter)) if (!send(keysym, code, down)) return letters.slice(at).join("");
    await pause(PAUSE_MS);
  }
  return "";
}
