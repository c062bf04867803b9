// Keyboards as tables: which key, with which of Shift and AltGr, makes a sign where the machine has that layout.
// A space stands where a key makes nothing that is needed. `altgr` and `both` (Shift and AltGr) name only what is printed on the keys;
// `dead` are the marks that wait for a letter, as [combining sign, key, 1 with Shift or 2 with AltGr].
export const CODES = `Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal
  KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Backslash
  KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote
  IntlBackslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash IntlYen IntlRo`.split(/\s+/);

const GRAVE = "\u0300";
const ACUTE = "\u0301";
const CIRCUMFLEX = "\u0302";
const TILDE = "\u0303";
const DIAERESIS = "\u0308";

export const LAYOUTS = {
  us: {
    plain: "`1234567890-=qwertyuiop[]\\asdfghjkl;' zxcvbnm,./",
    shift: "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\" ZXCVBNM<>?",
  },
  gb: {
    plain: "`1234567890-=qwertyuiop[]#asdfghjkl;'\\zxcvbnm,./",
    shift: "¬!\"£$%^&*()_+QWERTYUIOP{}~ASDFGHJKL:@|ZXCVBNM<>?",
    altgr: { "€": "Digit4" },
  },
  de: {
    plain: " 1234567890ß qwertzuiopü+#asdfghjklöä<yxcvbnm,.-",
    shift: "°!\"§$%&/()=? QWERTZUIOPÜ*'ASDFGHJKLÖÄ>YXCVBNM;:_",
    altgr: {
      "²": "Digit2", "³": "Digit3", "{": "Digit7", "[": "Digit8", "]": "Digit9", "}": "Digit0", "\\": "Minus", "@": "KeyQ", "€": "KeyE", "~": "BracketRight",
      "|": "IntlBackslash", "µ": "KeyM",
    },
    dead: [[CIRCUMFLEX, "Backquote", 0], [ACUTE, "Equal", 0], [GRAVE, "Equal", 1]],
  },
  fr: {
    plain: "²&é\"'(-è_çà)=azertyuiop $*qsdfghjklmù<wxcvbn,;:!",
    shift: " 1234567890°+AZERTYUIOP £µQSDFGHJKLM%>WXCVBN?./§",
    altgr: {
      "~": "Digit2", "#": "Digit3", "{": "Digit4", "[": "Digit5", "|": "Digit6", "`": "Digit7", "\\": "Digit8", "^": "Digit9", "@": "Digit0", "]": "Minus",
      "}": "Equal", "€": "KeyE",
    },
    dead: [[CIRCUMFLEX, "BracketLeft", 0], [DIAERESIS, "BracketLeft", 1]],
  },
  es: {
    plain: "º1234567890'¡qwertyuiop +çasdfghjklñ <zxcvbnm,.-",
    shift: "ª!\"·$%&/()=?¿QWERTYUIOP *ÇASDFGHJKLÑ >ZXCVBNM;:_",
    altgr: {
      "\\": "Backquote", "|": "Digit1", "@": "Digit2", "#": "Digit3", "~": "Digit4", "¬": "Digit6", "€": "KeyE", "[": "BracketLeft", "]": "BracketRight",
      "{": "Quote", "}": "Backslash",
    },
    dead: [[GRAVE, "BracketLeft", 0], [CIRCUMFLEX, "BracketLeft", 1], [ACUTE, "Quote", 0], [DIAERESIS, "Quote", 1]],
  },
  it: {
    plain: "\\1234567890'ìqwertyuiopè+ùasdfghjklòà<zxcvbnm,.-",
    shift: "|!\"£$%&/()=?^QWERTYUIOPé*§ASDFGHJKLç°>ZXCVBNM;:_",
    altgr: { "`": "Minus", "~": "Equal", "€": "KeyE", "[": "BracketLeft", "]": "BracketRight", "@": "Semicolon", "#": "Quote" },
    both: { "{": "BracketLeft", "}": "BracketRight" },
  },
  ch: {
    plain: "§1234567890' qwertzuiopü $asdfghjklöä<yxcvbnm,.-",
    shift: "°+\"*ç%&/()=? QWERTZUIOPè!£ASDFGHJKLéà>YXCVBNM;:_",
    altgr: {
      "@": "Digit2", "#": "Digit3", "¬": "Digit6", "|": "Digit7", "¢": "Digit8", "€": "KeyE", "[": "BracketLeft", "]": "BracketRight", "{": "Quote",
      "}": "Backslash", "\\": "IntlBackslash",
    },
    dead: [[CIRCUMFLEX, "Equal", 0], [GRAVE, "Equal", 1], [DIAERESIS, "BracketRight", 0], [ACUTE, "Minus", 2], [TILDE, "Equal", 2]],
  },
  jp: {
    plain: " 1234567890-^qwertyuiop@[]asdfghjkl;: zxcvbnm,./ \\",
    shift: " !\"#$%&'() =~QWERTYUIOP`{}ASDFGHJKL+* ZXCVBNM<>?|_",
  },
};
