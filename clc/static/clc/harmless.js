// A terminal shows what a guest writes and does nothing else for it: no title, no clipboard, no links, no answers.
// An answer would be typed at the guest once by everybody who looks, and again when what was said before is shown.
const OPERATING_SYSTEM = [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 17, 19, 21, 22, 50, 52, 104, 105, 110, 111, 112, 133, 777, 1337];
const QUESTIONS = [
  { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, { final: "n" }, { prefix: "?", final: "n" }, { prefix: ">", final: "q" },
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" }, { final: "t" }, { prefix: "?", final: "u" },
];

export function harmless(terminal) {
  const swallow = () => true;
  for (const code of OPERATING_SYSTEM) terminal.parser.registerOscHandler(code, swallow);
  for (const question of QUESTIONS) terminal.parser.registerCsiHandler(question, swallow);
  terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, swallow);
  terminal.parser.registerDcsHandler({ intermediates: "+", final: "q" }, swallow);
}
